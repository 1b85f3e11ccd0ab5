"""OpenTelemetry spans with the GenAI conventions, where OpenTelemetry is installed and set up.

Without an SDK that is set up (`opentelemetry-instrument luthier serve …`) spans go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from luthier.content import Response

try:
    from opentelemetry import trace
except ImportError:  # it is an extra
    trace = None  # type: ignore[assignment]


@contextmanager
def genai_span(operation: str, model: str, settings: dict[str, Any]) -> Iterator[Any]:
    """A span of one operation ("chat", "text_completion"): the requested settings at its start;
    `answered` puts the answer's into it."""
    if trace is None:
        yield None
        return
    attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "luthier",
        "gen_ai.request.model": model,
        **{
            f"gen_ai.request.{name}": value for name, value in settings.items() if value is not None
        },
    }
    tracer = trace.get_tracer("luthier.serving")
    kind = trace.SpanKind.SERVER
    with tracer.start_as_current_span(
        f"{operation} {model}", kind=kind, attributes=attributes
    ) as span:
        yield span


def answered(span: Any, model: str, responses: list[Response]) -> None:
    """Put how an operation ended into its span."""
    if span is None:
        return
    span.set_attribute("gen_ai.response.model", model)
    span.set_attribute("gen_ai.response.finish_reasons", [r.finish_reason for r in responses])
    read = max((r.usage.prompt_tokens for r in responses), default=0)
    span.set_attribute("gen_ai.usage.input_tokens", read)
    span.set_attribute(
        "gen_ai.usage.output_tokens", sum(r.usage.generated_tokens for r in responses)
    )
