"""The one evaluator: every model answers and is scored by this code."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import Response, Usage
from luthier.context import report_progress
from luthier.errors import CapabilityError, TaskError
from luthier.models.answering import render_for
from luthier.models.backend import ScoreRequest
from luthier.models.model import Model
from luthier.models.prompt import label_text
from luthier.records import Capability, EvalResult, Example, SampleScore, Score
from luthier.scoring.aggregate import ScorerSpec, aggregate_samples, parse_rate, rescored
from luthier.scoring.answerer import Answerer
from luthier.scoring.notes import usage_notes
from luthier.scoring.resolve import resolve_scorer, scorer_for, secondary_scorers
from luthier.scoring.scorer import Scorer
from luthier.task.fingerprint import example_hash

if TYPE_CHECKING:
    from luthier.task.task import Task

_SMALLEST_CHUNK = 64
_CHUNKS = 20


def evaluate(
    model: Model,
    task: Task,
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    latency: bool = False,
    scorer: ScorerSpec = None,
) -> EvalResult:
    """One model on one split: score with interval, parse rate, secondary scores, every example.

    **Arguments**

    - `split`: train, dev or test.
    - `limit`: draw that many examples, the same for every model and seed, so that results stay
      paired.
    - `seed`: for decoding that samples.
    - `latency`: add p50 and p95 of single requests, measured after the evaluation and not part of
      `eval_seconds`.
    - `scorer`: replaces the scorer of the task.

    Raises TaskError (unknown split, empty split, targets the scorer cannot use), LockedSplitError,
    and CapabilityError where the scorer needs log-probabilities that the model does not give, or
    the model gives text and the task asks for pictures, or the other way round; all before the
    model runs.
    """
    task.check_suits(model.backend)
    chosen = scorer_for(task) if scorer is None else resolve_scorer(scorer, schema=task.schema)
    examples = _limited(task.examples(split), limit, f"{split} split of task {task.name!r}")
    if model.backend.watch is not None:
        model.backend.watch.go_on()
    result = _evaluated(
        task, chosen, examples=examples,
        score=lambda: score_samples(model, examples, scorer=chosen, seed=seed),
    )  # fmt: skip
    notes = (*result.notes, *model.backend.notes)
    result = replace(result, met_examples=_met(model, examples), notes=notes)
    return _with_latency(result, model, examples) if latency else result


def evaluate_reference(answerer: Answerer, task: Task, *, limit: int | None = None) -> EvalResult:
    """What is no model, on the test split: on the examples, by the scorers and with the latency
    that `evaluate` measures a model by."""
    chosen = scorer_for(task)
    examples = _limited(task.examples("test"), limit, f"test split of task {task.name!r}")
    result = _evaluated(
        task, chosen, examples=examples,
        score=lambda: _score_answers(answerer, examples, chosen, 0),
    )  # fmt: skip
    return _with_latency(result, answerer, examples)


def _evaluated(
    task: Task, chosen: Scorer, *, examples: Sequence[Example],
    score: Callable[[], tuple[Sequence[SampleScore], Usage]],
) -> EvalResult:  # fmt: skip
    chosen.check(examples)
    started = time.perf_counter()
    sample_scores, usage = score()
    seconds = time.perf_counter() - started
    return EvalResult(
        score=aggregate_samples(sample_scores, chosen),
        parse_rate=(
            Score("parse-rate", None) if chosen.needs_likelihood else parse_rate([sample_scores])
        ),
        secondary=tuple(
            aggregate_samples(rescored(sample_scores, other), other)
            for other in secondary_scorers(task, chosen)
            if _fits(other, examples)
        ),
        sample_scores=tuple(sample_scores),
        usage=usage,
        eval_seconds=seconds,
        notes=(
            *usage_notes(usage, len(examples)),
            *(chosen.notes() if chosen.notes is not None else ()),
        ),
    )


def _with_latency(
    result: EvalResult, answerer: Answerer, examples: Sequence[Example]
) -> EvalResult:
    from luthier.scoring.latency import measure_latency

    measured = measure_latency(answerer, examples)
    return replace(
        result,
        latency_p50_ms=measured.p50_ms,
        latency_p95_ms=measured.p95_ms,
        latency_mean_ms=measured.mean_ms,
        timed_requests=measured.requests,
        label_tokens=measured.label_tokens,
    )


def score_samples(
    model: Model, examples: Sequence[Example], *, scorer: Scorer, seed: int = 0
) -> tuple[tuple[SampleScore, ...], Usage]:
    """A score for each answer, without statistics: a search over prompts calls this in its loop.

    CapabilityError where the scorer needs log-probabilities that the model does not give.
    """
    if scorer.needs_likelihood and Capability.LOGPROBS not in model.capabilities:
        raise CapabilityError(
            f"The scorer {scorer.metric} needs log-probabilities, "
            f"which {model.backend.name} does not give.",
            next_step="Use a local model, or choose a scorer that reads text (rouge-l, chrf).",
        )
    sample_scores: list[SampleScore] = []
    usage = Usage()
    # Large chunks, since a backend shares the common prefix of a prompt inside one call only.
    size = max(_SMALLEST_CHUNK, math.ceil(len(examples) / _CHUNKS))
    for start in range(0, len(examples), size):
        report_progress(start, len(examples), f"evaluated {start} of {len(examples)}")
        chunk = examples[start : start + size]
        if scorer.needs_likelihood:
            new, spent = _score_likelihoods(model, chunk)
        else:
            new, spent = _score_answers(model, chunk, scorer, seed)
        sample_scores += new
        usage = usage + spent
    report_progress(len(examples), len(examples), f"evaluated {len(examples)} of {len(examples)}")
    return tuple(sample_scores), usage


def _score_answers(
    model: Answerer, examples: Sequence[Example], scorer: Scorer, seed: int
) -> tuple[list[SampleScore], Usage]:
    usage = Usage()
    sample_scores = []
    for example, answer in zip(examples, model.answer(examples, seed=seed), strict=True):
        usage = usage + answer.usage
        sample_scores.append(_sample_score(example, answer, scorer))
    return sample_scores, usage


def _sample_score(example: Example, answer: Response, scorer: Scorer) -> SampleScore:
    prediction = answer.parsed or ""
    parseable = answer.parseable and (scorer.readable is None or scorer.readable(prediction))
    found = SampleScore(
        example_id=example.id,
        input=example.text,
        target=example.target,
        raw=answer.text,
        prediction=answer.parsed,
        parseable=parseable,
        value=scorer.of(prediction, example.target, question=example.text),
        group=example.group,
        cut=answer.finish_reason == "length",
        steps=answer.steps,
        wanted_calls=example.calls,
        remarks=() if scorer.remarks is None else scorer.remarks(prediction, example.target),
    )
    if scorer.score_sample is not None:
        return replace(found, value=scorer.score_sample(found))
    return found


def _score_likelihoods(
    model: Model, examples: Sequence[Example]
) -> tuple[list[SampleScore], Usage]:
    """Nats per token of each target after its prompt; nothing is generated or parsed."""
    form = model.adaptation.prompt.format
    labels = set(model.adaptation.decoding.labels)
    requests = []
    for example, prompt in zip(examples, render_for(model, examples), strict=True):
        target = example.target
        text = label_text(target, form) if target in labels else target
        requests.append(ScoreRequest(prompt, (prompt.answer_prefix + text,)))
    usage = Usage()
    sample_scores = []
    for example, scored in zip(
        examples, model.backend.score(requests, model.adaptation), strict=True
    ):
        usage = usage + scored.usage
        tokens = scored.tokens[0]
        sample_scores.append(
            SampleScore(
                example_id=example.id,
                input=example.text,
                target=example.target,
                raw="",
                prediction=None,
                parseable=False,
                value=-scored.logprobs[0] / tokens if tokens else 0.0,
                group=example.group,
                weight=float(tokens),
            )
        )
    return sample_scores, usage


def _met(model: Model, examples: Sequence[Example]) -> int | None:
    """How many of the examples the fit of a model could see; None where it keeps no record."""
    met = frozenset() if model.lineage is None else model.lineage.met
    return sum(example_hash(e) in met for e in examples) if met else None


def _fits(scorer: Scorer, examples: Sequence[Example]) -> bool:
    """Whether the scorer can use the targets; a secondary score for which it cannot is left out."""
    try:
        scorer.check(examples)
    except TaskError:
        return False
    return True


def _limited(examples: Sequence[Example], limit: int | None, where: str) -> tuple[Example, ...]:
    if not examples:
        raise TaskError(
            f"The {where} is empty.", next_step="Give it data, or choose another split."
        )
    if limit is None or limit >= len(examples):
        return tuple(examples)
    if limit < 1:
        raise TaskError(f"limit is {limit}.", next_step="Leave it out, or give at least 1.")
    rows = sorted(random.Random(0).sample(range(len(examples)), limit))
    return tuple(examples[row] for row in rows)
