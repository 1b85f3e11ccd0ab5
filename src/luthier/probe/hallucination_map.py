"""Where does the base make things up? (part 4)

Answers are scored as the task scores them, without its documents (closed book) and with a passage
(open book). How sure the base is comes from the log-probabilities of the labels where it gives
them, else from how far sampled answers agree. Asked about what a passage does not say, a base that
does not make things up says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from luthier.context import report_progress
from luthier.models.model import Model
from luthier.probe.answer_samples import agreements
from luthier.probe.book_answers import BookAnswers, open_book
from luthier.probe.probe_request import ProbeRequest
from luthier.probe.probed_text import ProbedText
from luthier.probe.reliability import Floats, Reliability, at_temperature, best_temperature
from luthier.probe.reliability import ReliabilityBin as ReliabilityBin
from luthier.probe.reliability import reliability as reliability_of
from luthier.probe.risk_coverage import CoveragePoint as CoveragePoint
from luthier.probe.risk_coverage import RiskCoverage, risk_coverage
from luthier.probe.task_sample import drawn, is_right, label_logprobs, unmet_examples
from luthier.probe.topics import TopicScore, topic_names, topic_scores
from luthier.records import Example, Score
from luthier.scoring.resolve import scorer_for
from luthier.scoring.retrieval_metrics import score_of
from luthier.scoring.scorer import Scorer
from luthier.task.task import Task
from luthier.training.starting_prompt import starting_model

LEAST_TO_FIT = 10  # examples, for a temperature


@dataclass(frozen=True, slots=True)
class HallucinationMap:
    """What was measured. `lacks`: why a figure is None.

    `split` names the examples, none of which a fit has seen; `confidence_from` says what the
    confidence in an answer is. `closed_book` is the share of right answers, `entropy` the mean
    entropy over answers (nats), and `entropy_tells` the probability that a wrong answer has a
    higher one than a right one (AUROC). `ece` is the calibration error with `floor`, what a
    perfectly calibrated base would show, and `bias`, mean confidence less accuracy; `…_scaled` are
    those after the `temperature`, fitted on `temperature_examples` examples of dev.
    """

    lacks: str = ""
    split: str = ""
    examples: int = 0
    confidence_from: str = ""
    closed_book: Score | None = None
    book: BookAnswers | None = None
    entropy: float | None = None
    entropy_tells: float | None = None
    reliability: tuple[ReliabilityBin, ...] = ()
    reliability_scaled: tuple[ReliabilityBin, ...] = ()
    ece: Score | None = None
    ece_scaled: Score | None = None
    floor: float | None = None
    bias: float | None = None
    bias_scaled: float | None = None
    temperature: float | None = None
    temperature_examples: int = 0
    risk: RiskCoverage | None = None
    topics: tuple[TopicScore, ...] = ()

    @property
    def risk_coverage(self) -> tuple[CoveragePoint, ...]:
        """The points of the curve."""
        return () if self.risk is None else self.risk.points

    def sentences(self) -> list[str]:
        """What was found, in words."""
        from luthier.probe.hallucination_words import hallucination_sentences

        return hallucination_sentences(self)


@dataclass(frozen=True, slots=True)
class _Answered:
    """Answers to examples: which are right, the confidence in each, and the entropy of each; None
    where they are not known. `logprobs` (N, L) are there where labels were scored."""

    answers: tuple[str, ...]
    right: tuple[float, ...]
    confidences: tuple[float, ...] | None = None
    entropies: tuple[float, ...] | None = None
    logprobs: Floats | None = None


def map_hallucinations(
    model: Model, request: ProbeRequest, texts: Sequence[ProbedText] = ()
) -> HallucinationMap:
    """The map over examples of the request's task that no fit of the model has seen."""
    task = request.task
    if task is None:
        return HallucinationMap(lacks="No task was given, so that nothing was asked.")
    scorer = scorer_for(task)
    if scorer.needs_likelihood or scorer.score_sample is not None:
        return HallucinationMap(
            lacks=f"The task is scored by {scorer.metric}, which judges no answer by its text."
        )
    split, examples = unmet_examples(model, task, request.limits.examples, request.seed)
    if not examples:
        return HallucinationMap(lacks="The task has no examples that the model has not met.")
    asked = model if model.adaptation.filled else starting_model(model, task)
    lacks: list[str] = []
    closed = [replace(e, context=None) for e in examples] if not task.labels else examples
    answered = _answer(asked.adapt(knowledge=None), closed, request, scorer)
    report_progress(1, 4, "asked without documents")
    found = HallucinationMap(
        split=split,
        examples=len(examples),
        closed_book=score_of("right answers", answered.right, examples),
        confidence_from=_source(answered, request.limits.samples),
    )
    found = _with_confidence(found, answered, request, examples)
    if answered.logprobs is not None:
        found = _scaled(found, answered, asked, request)
        if found.temperature is None:
            lacks.append(
                f"No temperature was fitted: dev has fewer than {LEAST_TO_FIT} usable examples."
            )
    else:
        lacks.append(
            "The base gives no log-probabilities of labels here: confidence is the agreement of "
            "sampled answers, and there is no temperature to fit."
        )
    if task.labels:
        lacks.append("Open book and abstention are measured where answers are free text.")
    else:
        report_progress(2, 4, "asking with documents")
        book = open_book(asked, request, examples, scorer)
        found = replace(found, book=book)
        lacks += [book.lacks] if book.lacks else []
    report_progress(4, 4, "asked")
    return replace(found, lacks=" ".join(lacks))


def _answer(
    model: Model, examples: Sequence[Example], request: ProbeRequest, scorer: Scorer
) -> _Answered:
    responses = model.answer(examples, seed=request.seed)
    answers = tuple(response.parsed or "" for response in responses)
    right = tuple(
        float(is_right(scorer, answer, e)) for answer, e in zip(answers, examples, strict=True)
    )
    logprobs = label_logprobs(responses, model.adaptation.decoding.labels)
    if logprobs is not None:
        chances = at_temperature(logprobs, 1.0)
        entropies = -(chances * np.log(chances)).sum(1)
        return _Answered(
            answers, right, tuple(chances.max(1)), tuple(float(h) for h in entropies), logprobs
        )
    samples = request.limits.samples
    if samples < 2:
        return _Answered(answers, right)
    agreed = agreements(model, examples, answers, samples=samples, seed=request.seed)
    return _Answered(
        answers, right, tuple(a.share for a in agreed), tuple(a.entropy for a in agreed)
    )


def _source(answered: _Answered, samples: int) -> str:
    if answered.logprobs is not None:
        return "the log-probabilities of the labels"
    return f"the agreement of {samples} sampled answers" if answered.confidences else ""


def _with_confidence(
    found: HallucinationMap, answered: _Answered, request: ProbeRequest, examples: Sequence[Example]
) -> HallucinationMap:
    sure, right = answered.confidences, answered.right
    names = topic_names([e.text for e in examples], seed=request.seed)
    topics = () if names is None else topic_scores(names, right, sure)
    if sure is None or answered.entropies is None:
        return replace(found, topics=topics)
    measured = reliability_of(sure, right, seed=request.seed)
    assert measured is not None
    return replace(
        found,
        entropy=float(np.mean(answered.entropies)),
        entropy_tells=_auroc(answered.entropies, right),
        reliability=measured.bins,
        ece=measured.ece,
        floor=measured.floor,
        bias=measured.bias,
        risk=risk_coverage(sure, right),
        topics=topics,
    )


def _auroc(entropies: Sequence[float], right: Sequence[float]) -> float | None:
    if len(set(right)) < 2:
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([1.0 - r for r in right], entropies))


def _scaled(
    found: HallucinationMap, answered: _Answered, model: Model, request: ProbeRequest
) -> HallucinationMap:
    """The map with the temperature that fits dev best, and what it makes of the calibration."""
    task = request.task
    assert task is not None
    assert answered.logprobs is not None
    fitted = scaled_reliability(
        model, task, answered.logprobs, answered.right, most=request.limits.examples,
        measured_on=found.split, seed=request.seed,
    )  # fmt: skip
    if fitted is None:
        return found
    temperature, after, used = fitted
    return replace(
        found,
        temperature=temperature,
        temperature_examples=used,
        reliability_scaled=after.bins,
        ece_scaled=after.ece,
        bias_scaled=after.bias,
    )


def scaled_reliability(
    model: Model, task: Task, logprobs: Floats, right: Sequence[float], *,
    most: int, measured_on: str, seed: int,
) -> tuple[float, Reliability, int] | None:  # fmt: skip
    """The temperature that fits dev best, the calibration of the answers behind `logprobs` under
    it, and the number of dev examples. None where dev is what was measured on, or too small."""
    labels = model.adaptation.decoding.labels
    places = {label: place for place, label in enumerate(labels)}
    fitted_on = [e for e in drawn(task.dev, most, seed) if e.target in places]
    if measured_on == "dev" or len(fitted_on) < LEAST_TO_FIT:
        return None
    known = label_logprobs(model.adapt(knowledge=None).answer(fitted_on, seed=seed), labels)
    if known is None:
        return None
    temperature = best_temperature(known, [places[e.target] for e in fitted_on])
    if temperature is None:
        return None
    sure = at_temperature(logprobs, temperature).max(1)
    after = reliability_of([float(value) for value in sure], right, seed=seed)
    return None if after is None else (temperature, after, len(fitted_on))
