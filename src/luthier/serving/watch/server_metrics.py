"""What Prometheus reads at /metrics."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from luthier.content import Response

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ServerMetrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, service: Any) -> None:
        self.registry = CollectorRegistry()
        named: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "luthier_requests_total", "Requests by route, model and status.",
            ("route", "model", "status"), **named,
        )  # fmt: skip
        self.seconds = Histogram(
            "luthier_request_seconds", "From the request to its whole answer.", ("route",),
            buckets=SECONDS, **named,
        )  # fmt: skip
        self.first_token = Histogram(
            "luthier_first_token_seconds", "From the request to the first piece of its answer.",
            ("model",), buckets=SECONDS, **named,
        )  # fmt: skip
        self.tokens = Counter(
            "luthier_tokens_total", "Tokens read, generated, and really computed.",
            ("model", "kind"), **named,
        )  # fmt: skip
        under_way = Gauge("luthier_requests_under_way", "Requests without an answer yet.", **named)
        under_way.set_function(lambda: service.worker.under_way)
        models = Gauge("luthier_models", "Models that are served.", **named)
        models.set_function(lambda: len(service.served.names()))

    def count_tokens(self, model: str, response: Response) -> None:
        """Count the tokens of an answer."""
        usage = response.usage
        for kind, count in (
            ("read", usage.prompt_tokens),
            ("generated", usage.generated_tokens),
            ("computed", usage.computed_tokens),
        ):
            self.tokens.labels(model, kind).inc(count)

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
