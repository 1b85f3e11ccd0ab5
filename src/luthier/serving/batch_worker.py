"""The thread that computes: all requests of one base that are under way share batches.

A turn of its loop takes in what waits, scores labels together, and generates one token for every
answer that is being written. What cannot share a batch (a fork, a head, votes, thoughts, passages
that are read apart, a base on another server) is answered call by call between two turns.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from luthier.content import Conversation, Response
from luthier.models.answering import label_requests, render_for, scores_labels
from luthier.models.backend import Backend, GenerateRequest
from luthier.models.model import Model
from luthier.models.parsing import from_scores, read_response
from luthier.models.prompt import Rendered
from luthier.models.rag.grounding import grounded
from luthier.records import Capability, Example

WAKE = "wake"  # stands among the jobs for a turn without one
TokenLogprob = tuple[str, float, dict[str, float]]


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """A response, and of each of its tokens the log-probability where that was asked for and can be
    told."""

    response: Response
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True, eq=False)
class Job:
    """One request for one model.

    **Fields**

    - `conversation` with its `context`, or `text`: a prompt as it is, without the model's own.
    - `samples`, `seed`, `top_logprobs`: as in `GenerateRequest` and `ContinuousEngine.start`.
    - `on_text`: is called in the worker's thread with each piece of the first sample.
    - `future`: the answers. Cancelling it ends the work.
    """

    model: Model
    conversation: Conversation | None = None
    context: str | None = None
    text: str | None = None
    seed: int = 0
    samples: int = 1
    top_logprobs: int | None = None
    on_text: Callable[[str], None] | None = None
    future: Future[list[JobAnswer]] = field(default_factory=Future)
    live: list[Any] = field(default_factory=list)  # `LiveAnswer`s of the engine
    sent: str = ""

    @property
    def example(self) -> Example:
        """What is asked, as an example without a target."""
        assert self.conversation is not None
        return Example(id="", input=self.conversation, target="", context=self.context)

    def finish(self, answers: list[JobAnswer]) -> None:
        """Set the future, after the last piece."""
        if not self.future.done():
            if self.on_text is not None:
                response = answers[0].response
                self.tell(response.answer if self.text is None else response.text)
            with suppress(Exception):  # it was cancelled meanwhile
                self.future.set_result(answers)

    def fail(self, error: BaseException) -> None:
        """Set the future to an error."""
        with suppress(Exception):
            self.future.set_exception(error)

    def tell(self, text: str | None) -> None:
        """Send on what of a text was not sent."""
        if text is not None and self.on_text is not None and text.startswith(self.sent):
            piece, self.sent = text[len(self.sent) :], text
            if piece:
                self.on_text(piece)


class BatchWorker:
    """Takes jobs from many threads and answers them in its own."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | str | None] = queue.SimpleQueue()
        self._forget: list[Backend] = []
        self._count = 0
        self._lock = threading.Lock()
        self._live: list[Job] = []
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="luthier-batches", daemon=True)
        self._thread.start()

    @property
    def under_way(self) -> int:
        """Jobs that were handed in and have no answer yet."""
        return self._count

    def submit(self, job: Job) -> Future[list[JobAnswer]]:
        """Hand in a job."""
        with self._lock:
            self._count += 1
        job.future.add_done_callback(self._done)
        self._jobs.put(job)
        return job.future

    def forget(self, backend: Backend) -> None:
        """Let go of what was read on a base, and of its adaptations, once nothing is under way: an
        adaptation was unloaded."""
        with self._lock:
            self._forget.append(backend)
        self._jobs.put(WAKE)

    def close(self) -> None:
        """Answer what was handed in, and end. A second call returns at once."""
        self._jobs.put(None)
        self._thread.join()

    def _done(self, _: object) -> None:
        with self._lock:
            self._count -= 1

    def _run(self) -> None:
        while True:
            jobs: list[Job | str | None] = []
            if not self._live and not self._closing:
                jobs.append(self._jobs.get())
            while not self._jobs.empty():
                jobs.append(self._jobs.get())
            self._closing = self._closing or None in jobs
            self._take([j for j in jobs if isinstance(j, Job) and not j.future.cancelled()])
            self._step()
            self._let_go()
            if self._closing and not self._live and self._jobs.empty():
                return

    def _let_go(self) -> None:
        with self._lock:
            backends, self._forget = ([], self._forget) if self._live else (self._forget, [])
        for backend in backends:
            context = backend.continuous()
            if context is not None:
                with context as engine:
                    engine.forget()

    def _take(self, jobs: Sequence[Job]) -> None:
        """Score what is scored, begin what is generated, and answer the rest."""
        scored: dict[int, list[Job]] = {}
        apart: dict[tuple[int, int], list[Job]] = {}
        for job in jobs:
            try:
                way = way_of(job)
                if way == "scored":
                    scored.setdefault(id(job.model.backend), []).append(job)
                elif way == "generated":
                    self._begin(job)
                else:
                    key = id(job) if job.on_text or job.text is not None else id(job.model)
                    apart.setdefault((key, job.seed), []).append(job)
            except Exception as error:
                job.fail(error)
        for group in scored.values():
            each(score_jobs, group)
        for group in apart.values():
            each(answer_apart, group)

    def _begin(self, job: Job) -> None:
        if job.text is not None:
            prompt = Rendered(text=job.text)
        else:
            (prompt,) = render_for(job.model, [job.example])
        request = GenerateRequest(prompt, job.seed, job.samples)
        context = job.model.backend.continuous()
        assert context is not None
        with context as engine:
            job.live = engine.start(request, job.model.adaptation, top_logprobs=job.top_logprobs)
        self._live.append(job)

    def _step(self) -> None:
        """One token for all answers under way; those that are finished are handed out."""
        backends = {id(job.model.backend): job.model.backend for job in self._live}
        for backend in backends.values():
            own = [job for job in self._live if job.model.backend is backend]
            for job in own:
                if job.future.cancelled():
                    for answer in job.live:
                        answer.cancelled = True
            try:
                self._step_backend(backend, own)
            except Exception as error:
                for job in own:
                    for answer in job.live:
                        answer.cancelled = True
                    job.fail(error)
        self._live = [job for job in self._live if not job.future.done()]

    def _step_backend(self, backend: Backend, jobs: Sequence[Job]) -> None:
        context = backend.continuous()
        assert context is not None
        with context as engine:
            engine.step()
        for job in jobs:
            if job.on_text is not None and job.model.adaptation.knowledge is None:
                first = job.live[0]
                job.tell(first.text if job.text is None else first.raw_text)
            if all(answer.finished for answer in job.live) and not job.future.cancelled():
                try:
                    job.finish([served_answer(job, answer) for answer in job.live])
                except Exception as error:
                    job.fail(error)


def way_of(job: Job) -> str:
    """ "scored", "generated" or "apart": whether and how a job shares batches."""
    model = job.model
    adaptation = model.adaptation
    decoding, knowledge = adaptation.decoding, adaptation.knowledge
    context = model.backend.continuous()
    plain = decoding.votes == 1 and not decoding.thinking_tokens and adaptation.head is None
    joined = knowledge is None or knowledge.reading == "joined"
    if context is None or not plain or not joined:
        return "apart"
    with context as engine:
        if not engine.accepts(adaptation):
            return "apart"
    if job.text is not None:
        return "generated"
    return "scored" if scores_labels(model) else "generated"


def each(work: Callable[[Sequence[Job]], None], jobs: Sequence[Job]) -> None:
    """Do the work for all jobs; where it fails for many, for each by itself."""
    try:
        work(jobs)
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].fail(error)
            return
        for job in jobs:
            each(work, [job])


def score_jobs(jobs: Sequence[Job]) -> None:
    """Answer jobs of one backend whose labels are scored."""
    items = []
    for job in jobs:
        prompts = render_for(job.model, [job.example])
        items += [(request, job.model.adaptation) for request in label_requests(job.model, prompts)]
    context = jobs[0].model.backend.continuous()
    assert context is not None
    with context as engine:
        results = engine.score(items)
    for job, scored in zip(jobs, results, strict=True):
        response = with_citations(job, from_scores(scored, job.model.adaptation.decoding))
        job.finish([JobAnswer(response)] * job.samples)


def answer_apart(jobs: Sequence[Job]) -> None:
    """Answer jobs of one model and seed in a call of their own."""
    model, seed = jobs[0].model, jobs[0].seed
    if jobs[0].text is not None:
        request = GenerateRequest(Rendered(text=jobs[0].text), seed, jobs[0].samples)
        (generated,) = model.backend.generate([request], model.adaptation)
        found = [generated, *generated.others]
        jobs[0].finish([JobAnswer(read_response(plain_model(model), g)) for g in found])
        return
    rounds: list[list[JobAnswer]] = [[] for _ in jobs]
    for k in range(max(job.samples for job in jobs)):
        if jobs[0].on_text is not None and k == 0 and model.adaptation.knowledge is None:
            rounds[0].append(streamed(jobs[0]))
            continue
        for place, (job, response) in enumerate(
            zip(jobs, model.answer([j.example for j in jobs], seed=seed + k), strict=True)
        ):
            if k < job.samples:
                rounds[place].append(JobAnswer(with_citations(job, response)))
    for job, answers in zip(jobs, rounds, strict=True):
        job.finish(answers)


def streamed(job: Job) -> JobAnswer:
    """The answer of a job whose text comes in pieces from the backend itself."""
    if scores_labels(job.model) or Capability.TEXT not in job.model.capabilities:
        return JobAnswer(job.model.answer([job.example], seed=job.seed)[0])
    text = ""
    for piece in job.model.stream(job.conversation or "", context=job.context, seed=job.seed):
        if job.future.cancelled():
            break
        text += piece
        job.tell(text)
    return JobAnswer(Response(text, text or None, bool(text)))


def served_answer(job: Job, answer: Any) -> JobAnswer:
    """What a finished answer of the engine says."""
    generated = answer.generated
    if job.text is not None:
        model = plain_model(job.model)
        response = replace(read_response(model, generated), text=answer.raw_text)
        return JobAnswer(replace(response, parsed=answer.raw_text), tuple(answer.logprobs))
    response = with_citations(job, read_response(job.model, generated))
    return JobAnswer(response, tuple(answer.logprobs))


def plain_model(model: Model) -> Model:
    """The model with nothing read out of its text."""
    decoding = replace(model.adaptation.decoding, labels=(), label_bias=(), json_schema=None)
    return model.adapt(decoding=decoding, knowledge=None)


def with_citations(job: Job, response: Response) -> Response:
    """The response with its citations and its grounding, where the model has documents."""
    if job.model.adaptation.knowledge is None or job.conversation is None:
        return response
    return grounded(job.model, job.conversation, lambda: response)
