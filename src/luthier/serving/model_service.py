"""Answers requests for served models: HTTP hands them in, one thread computes them in batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from luthier.content import Conversation
from luthier.errors import UserError
from luthier.models.adaptation import Decoding
from luthier.models.model import Model
from luthier.serving.api_errors import ApiError, unknown_model
from luthier.serving.batch_worker import BatchWorker, Job, JobAnswer
from luthier.serving.served_models import ServedModel, ServedModels

MOST_UNDER_WAY = 256
RETRY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class DecodingChanges:
    """What a request sets of the decoding; None leaves it as the model was evaluated."""

    max_new_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] | None = None
    json_schema: str | None = None
    regex: str | None = None


@dataclass(frozen=True, slots=True)
class ServedQuestion:
    """What is asked: a conversation, with a passage where there is one, or a `text` to go on with
    as it is. `seed`, `samples` and `top_logprobs` are as in `Job`."""

    conversation: Conversation | None = None
    context: str | None = None
    text: str | None = None
    changes: DecodingChanges = DecodingChanges()
    seed: int = 0
    samples: int = 1
    top_logprobs: int | None = None


class ModelService:
    """The models that are served, and the thread that answers.

    The API's routes and the studio's playground both ask through it. With `most_under_way`
    requests under way a further one is refused (429).
    """

    def __init__(self, served: ServedModels, *, most_under_way: int = MOST_UNDER_WAY) -> None:
        self.served = served
        self.most_under_way = most_under_way
        self.worker = BatchWorker()
        self.draining = False
        # One object for equal changes, so that their requests share what is known of it.
        self._changed = lru_cache(maxsize=512)(changed_model)

    def find(self, name: str) -> ServedModel:
        """The model of a name; ApiError 404 where there is none."""
        found = self.served.get(name)
        if found is None:
            raise unknown_model(name)
        return found

    def submit(self, name: str, question: ServedQuestion, on_text: Any = None) -> Job:
        """Hand in a question. ApiError 404 for an unknown model, 429 where too many are under
        way, 503 while the server ends."""
        if self.draining:
            raise ApiError(503, "The server is ending.", kind="server_error", code="draining")
        if self.worker.under_way + question.samples > self.most_under_way:
            raise ApiError(
                429, f"{self.worker.under_way} requests are under way, and no more are taken.",
                kind="rate_limit_error", code="overloaded",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )  # fmt: skip
        model = self._changed(self.find(name).model, question.changes, question.text is not None)
        job = Job(
            model, question.conversation, question.context, question.text, question.seed,
            question.samples, question.top_logprobs, on_text,
        )  # fmt: skip
        self.worker.submit(job)
        return job

    async def respond(self, name: str, question: ServedQuestion) -> Sequence[JobAnswer]:
        """One answer for each sample. Cancelling this coroutine ends the work."""
        return await asyncio.wrap_future(self.submit(name, question).future)

    async def stream(self, name: str, question: ServedQuestion) -> AsyncGenerator[str | JobAnswer]:
        """The text of the first sample in pieces, and at the end the whole answer. Closing the
        iterator ends the work."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def put(piece: str | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        job = self.submit(name, question, on_text=put)
        job.future.add_done_callback(lambda _: put(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            yield job.future.result()[0]
        finally:
            job.future.cancel()

    def unload(self, name: str) -> tuple[str, ...]:
        """Serve a model, or all models of a run, no longer, and let go of what was kept of them;
        returns what went. Requests under way end as they began."""
        backends = [s.model.backend for s in self.served.all() if name in (s.name, s.run)]
        gone = self.served.remove(name)
        self._changed.cache_clear()
        for backend in {id(b): b for b in backends}.values():
            self.worker.forget(backend)
        return gone

    def close(self) -> None:
        """Take nothing more, and end once what was handed in is answered."""
        self.draining = True
        self.worker.close()


def changed_model(model: Model, changes: DecodingChanges, as_text: bool) -> Model:
    """The model with these changes. `as_text`: it goes on with a text, and its own stop strings,
    labels and prompt do not count.

    Where labels are scored, no change matters. ApiError for a setting that cannot be followed.
    """
    decoding: Decoding = model.adaptation.decoding
    if as_text:
        decoding = Decoding(stop=(), max_new_tokens=16)
    elif decoding.labels:
        return model
    given = {
        name: value
        for name in ("max_new_tokens", "temperature", "stop", "json_schema", "regex")
        if (value := getattr(changes, name)) is not None
    }
    try:
        decoding = replace(decoding, **given)
    except UserError as error:
        raise ApiError(400, str(error)) from error
    return model if decoding is model.adaptation.decoding else model.adapt(decoding=decoding)
