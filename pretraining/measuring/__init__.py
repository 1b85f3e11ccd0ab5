"""What the label tasks of :mod:`pretraining.evaluate` do not show: reading, tool calls, tuning."""
