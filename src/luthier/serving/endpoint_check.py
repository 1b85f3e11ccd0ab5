"""Is what is served what was measured? The locked test set through an endpoint, answer by answer,
against what the ledger of the run says was answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from luthier.compare.comparison import Comparison, TechniqueResult
from luthier.content import Conversation
from luthier.context import report_progress
from luthier.errors import BackendError, UserError
from luthier.models.endpoint_client import open_client
from luthier.models.openai_form import openai_messages
from luthier.records import Example, SampleScore
from luthier.task.task import Task

AT_ONCE = 8
# Two labels whose log-probabilities differ by less are a tie that rounding decides: batches of
# another shape sum in another order. bfloat16 keeps three digits.
TIE_NATS = {"float32": 0.002, "bfloat16": 0.15}


@dataclass(frozen=True, slots=True)
class OtherAnswer:
    """An example that was answered otherwise: what the ledger has, and what was served.

    `margin` is by how many nats the served label is the likelier one, None for free text; `tie`
    says that rounding in the number format of the evaluation may have decided.
    """

    example_id: str
    input: str
    measured: str | None
    served: str | None
    margin: float | None = None
    tie: bool = False


@dataclass(frozen=True, slots=True)
class Verified:
    """One technique: how many of its test answers are the same through the endpoint."""

    technique: str
    model: str
    equal: int
    examples: int
    others: tuple[OtherAnswer, ...] = ()

    @property
    def ties(self) -> int:
        """How many answers differ because rounding decided a tie."""
        return sum(other.tie for other in self.others)

    def to_json(self) -> dict[str, Any]:
        """The object that `luthier verify --json` prints for it."""
        return {
            "technique": self.technique,
            "model": self.model,
            "equal": self.equal,
            "examples": self.examples,
            "ties": self.ties,
            "others": [
                {
                    "id": o.example_id,
                    "input": o.input,
                    "measured": o.measured,
                    "served": o.served,
                    "margin": o.margin,
                    "tie": o.tie,
                }
                for o in self.others
            ],
        }


def verify_run(
    comparison: Comparison,
    url: str,
    *,
    run: str,
    techniques: Sequence[str] = (),
    task: Task | None = None,
    names: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> list[Verified]:
    """Ask every test example of every saved technique through an OpenAI-compatible address.

    **Arguments**

    - `run`: the name the run is served under; a model is asked for as "run/slug".
    - `techniques`: those to verify; all that were saved without any.
    - `task`: gives passages and conversations, which the ledger does not hold.
    - `names`: the model's name for a technique, where a server has another one.
    - `limit`: so many examples of each.

    UserError for a technique there is not, or a task that has to be given; BackendError where the
    address does not answer.
    """
    results = chosen_results(comparison, techniques)
    if comparison.task.passage_column is not None and task is None:
        raise UserError(
            f"the examples of {comparison.task.name} have passages, which the ledger does not hold",
            next_step="Give the task: --task FILE.",
        )
    known = {} if task is None else {example.id: example for example in task.test}
    ties = tie_nats(comparison)
    client = open_client(url)
    verified, done = [], 0
    total = sum(len(samples_of_run(result)[:limit]) for result in results)
    for result in results:
        name = (names or {}).get(result.technique, f"{run}/{result.slug}")
        samples = samples_of_run(result)[:limit]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [pool.submit(asked, client, name, s, known.get(s.example_id)) for s in samples]
            served = []
            for job in jobs:
                served.append(job.result())
                done += 1
                report_progress(done, total, f"verified {done} of {total}")
        others = tuple(
            other_answer(s, answer, ties)
            for s, answer in zip(samples, served, strict=True)
            if answer.text != s.prediction
        )
        equal = len(samples) - len(others)
        verified.append(Verified(result.technique, name, equal, len(samples), others))
    return verified


def tie_nats(comparison: Comparison) -> float:
    """How far apart two labels may be for rounding to choose, in the comparison's precision."""
    precision = (comparison.provenance.precision or "").split(" ")[0]
    return TIE_NATS.get(precision, TIE_NATS["float32"])


def chosen_results(comparison: Comparison, techniques: Sequence[str]) -> list[TechniqueResult]:
    """The results whose models were saved, or those named. UserError for one there is not."""
    saved = [r for r in comparison.results if r.path is not None and r.best is not None]
    names = {name: r for r in saved for name in (r.technique, r.slug)}
    for technique in techniques:
        if technique not in names:
            raise UserError(
                f"the run has no finished technique {technique!r}",
                choices=[r.technique for r in saved],
            )
    found = [names[t] for t in techniques] if techniques else saved
    if not found:
        raise UserError("the run has no finished technique", next_step="Run it to its end.")
    return found


def samples_of_run(result: TechniqueResult) -> tuple[SampleScore, ...]:
    """What the saved model of a technique answered at its evaluation."""
    return () if result.best is None else result.best.sample_scores


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """What an endpoint answered; `text` is None where it could not be read."""

    text: str | None
    probabilities: Mapping[str, float]


def other_answer(sample: SampleScore, answer: EndpointAnswer, ties: float) -> OtherAnswer:
    """An answer that is not the measured one, and whether rounding may have decided."""
    margin = None
    chances = answer.probabilities
    if sample.prediction in chances and answer.text in chances:
        own, other = (max(chances[str(t)], 1e-300) for t in (answer.text, sample.prediction))
        margin = math.log(own / other)
    return OtherAnswer(
        sample.example_id, sample.input, sample.prediction, answer.text, margin,
        margin is not None and margin < ties,
    )  # fmt: skip


def asked(client: Any, name: str, sample: SampleScore, example: Example | None) -> EndpointAnswer:
    """What an endpoint answers to an example."""
    import openai

    turns = Conversation.of(sample.input if example is None else example.input)
    body = {} if example is None or example.context is None else {"context": example.context}
    try:
        reply = client.chat.completions.create(
            model=name, messages=openai_messages(turns.messages), extra_body=body
        )
    except openai.APIConnectionError as error:
        raise BackendError(
            f"{client.base_url} does not answer: {error}", next_step="Is luthier serve running?"
        ) from error
    except openai.APIStatusError as error:
        raise BackendError(f"{client.base_url} refuses {name!r}: {error.message}") from error
    choice = reply.choices[0]
    told = (choice.model_extra or {}).get("luthier") or {}
    text = None if told.get("parsed") is False else told.get("said", choice.message.content)
    return EndpointAnswer(text, told.get("probabilities") or {})
