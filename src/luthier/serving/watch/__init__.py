"""How is the server doing? Prometheus metrics, OpenTelemetry traces, logs, health."""
