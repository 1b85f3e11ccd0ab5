"""One request that asks a model, in the metrics and in a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi import Request

from luthier.content import Response
from luthier.serving.api_errors import ApiError
from luthier.serving.request_bodies import GenerationBody
from luthier.serving.watch.genai_traces import answered, genai_span
from luthier.serving.watch.server_metrics import ServerMetrics


class RequestReport:
    """What a handler reports: the first piece of an answer, and the answers."""

    def __init__(self, metrics: ServerMetrics, model: str, span: Any) -> None:
        self.metrics, self.model, self.span = metrics, model, span
        self.started = time.perf_counter()
        self._first = False

    def __call__(self, responses: Sequence[Response]) -> None:
        """The whole answers."""
        self.first_piece()
        for response in responses:
            self.metrics.count_tokens(self.model, response)
        answered(self.span, self.model, list(responses))

    def first_piece(self) -> None:
        """Something of the answer is there."""
        if not self._first:
            self._first = True
            seconds = time.perf_counter() - self.started
            self.metrics.first_token.labels(self.model).observe(seconds)


@contextmanager
def watched(request: Request, operation: str, body: GenerationBody) -> Iterator[RequestReport]:
    """Count and trace what happens inside."""
    service, metrics = request.app.state.service, request.app.state.metrics
    service.find(body.model)  # a name that is not served gets no series of its own
    settings = {
        "temperature": body.temperature, "max_tokens": body.max_tokens, "seed": body.seed,
        "choice.count": body.n,
    }  # fmt: skip
    status = "200"
    with genai_span(operation, body.model, settings) as span:
        report = RequestReport(metrics, body.model, span)
        try:
            yield report
        except ApiError as error:
            status = str(error.status)
            raise
        except BaseException:
            status = "500"
            raise
        finally:
            metrics.requests.labels(operation, body.model, status).inc()
            metrics.seconds.labels(operation).observe(time.perf_counter() - report.started)
