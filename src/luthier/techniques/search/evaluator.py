"""Scores candidate prompts: each is asked about the same dev examples, in the same order.

An example that a candidate has answered is not asked again. Where labels are scored, every
calibration of a candidate is scored on the same log-probabilities, at no further cost.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from luthier.content import Response
from luthier.context import WorkContext, checkpoint_folder, report_progress, working
from luthier.models.answering import label_continuations, render_for
from luthier.models.model import Model
from luthier.models.nearest import NearestDemonstrations
from luthier.models.prompt import Prompt
from luthier.records import Example, FitRecord, FitStep, HelperUse
from luthier.scoring import score_samples, scorer_for
from luthier.task.task import Task
from luthier.techniques.search.answer_log import AnswerLog, answer_key
from luthier.techniques.search.calibration import (
    CONTENT_FREE,
    Calibration,
    Scores,
    batch_bias,
    class_prior,
    contextual_bias,
    cross_fitted,
    log_softmax,
    prior_bias,
)
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.token_budget import TokenBudget, TokenEstimate, estimate_tokens

NATS = "nats per token of the target"
KNN_CONTEXTS = 4  # sets of nearest demonstrations over which content-free scores are averaged


class CandidateEvaluator:
    """Asks candidates about dev examples, within a budget, and keeps a history.

    **Arguments**

    - `model`: brings all slots of the adaptation but the prompt; its label biases are left out.
    - `token_budget`: what the search may spend.
    - `calibrations`: those that each candidate is scored under.
    - `most_examples`: dev examples that are used at most.
    """

    def __init__(
        self,
        model: Model,
        task: Task,
        *,
        token_budget: TokenBudget,
        calibrations: Sequence[Calibration],
        seed: int,
        most_examples: int = 300,
    ) -> None:
        decoding = replace(model.adaptation.decoding, label_bias=())
        self.model = model.adapt(decoding=decoding)
        self.task = task
        self.token_budget = token_budget
        self.scorer = scorer_for(task)
        self.calibrations = ("none",) if self.scorer.needs_likelihood else tuple(calibrations)
        self.seed = seed
        self.examples = balanced_order(task.dev, seed=seed)[:most_examples]
        self.candidates: list[Candidate] = []
        self.history: list[FitStep] = []
        self.planned_evaluations = 0
        self._answer_log = AnswerLog(checkpoint_folder())
        self._started = time.monotonic()
        self._logged_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Wall time of the search, with what it took before an interruption."""
        return time.monotonic() - self._started + self._logged_seconds

    def record(
        self, *, train_examples: int, dev_score: float | None, settled: dict[str, Any],
        notes: tuple[str, ...], helpers: tuple[HelperUse, ...] = (),
    ) -> FitRecord:  # fmt: skip
        """What the search did, as the record of a fit that trains nothing."""
        return FitRecord(
            fit_seconds=self.seconds,
            spent_tokens=self.token_budget.spent,
            generated_tokens=self.token_budget.generated - sum(h.written_tokens for h in helpers),
            helpers=helpers,
            trainable_parameters=0,
            train_examples=train_examples,
            dev_score=dev_score,
            settled=settled,
            history=tuple(self.history),
            notes=notes,
        )

    def add(self, name: str, prompt: Prompt, **changes: str) -> Candidate:
        """The candidate with this prompt; nothing is asked yet. The same prompt is one candidate.

        `changes` says for the record what was changed ("part", "change", "selection").
        """
        return self.add_model(name, self.model.adapt(prompt=prompt), **changes)

    def add_model(self, name: str, model: Model, **changes: str) -> Candidate:
        """The same for a model that may differ in its decoding as well."""
        for known in self.candidates:
            own = known.model.adaptation
            same = own.prompt == model.adaptation.prompt
            if same and own.decoding == model.adaptation.decoding:
                return known
        candidate = Candidate(name, model, changes)
        self.candidates.append(candidate)
        return candidate

    def evaluate(self, candidate: Candidate, count: int, *, reserve: float = 0.0) -> bool:
        """Ask until the candidate has `count` answers.

        0 asks only what a contextual calibration needs. Returns False, and asks nothing, where that
        would exceed the budget or leave less than `reserve` of it.
        """
        asked = self.examples[len(candidate.answers) : count]
        empty = self._content_free(candidate) if self._wants_content_free(candidate) else []
        batches = [*([(candidate.model, asked)] if asked else []), *empty]
        if not batches:
            return True
        estimates = [estimate_tokens(model, inputs) for model, inputs in batches]
        if not self.token_budget.affords(sum(estimates, TokenEstimate(0, 0)), reserve=reserve):
            return False
        self.token_budget.evaluations_done += 1
        answers = [
            self.answer(candidate, model, inputs, estimate=estimate)
            for (model, inputs), estimate in zip(batches, estimates, strict=True)
        ]
        candidate.answers += answers.pop(0) if asked else []
        if empty:
            content_free = [answer for batch in answers for answer in batch]
            candidate.content_free = self._label_scores(candidate, content_free)
        if not candidate.answers:
            return True
        self._score(candidate)
        calibration, mean = candidate.best
        entry = FitStep(
            candidate=candidate.name,
            part=candidate.changes.get("part"),
            change=candidate.changes.get("change"),
            selection=candidate.changes.get("selection"),
            examples=len(candidate.answers),
            dev_score=mean,
            calibration=calibration,
            tokens_per_request=round(candidate.tokens_per_request, 1),
            spent_tokens=self.token_budget.spent,
        )
        self.history.append(entry)
        done = len(self.history)
        message = f"{candidate.name}: {mean:.3f} on {len(candidate.answers)} examples"
        report_progress(done, max(self.planned_evaluations, done), message)
        return True

    def label_bias(
        self, candidate: Candidate, calibration: Calibration
    ) -> tuple[tuple[str, float], ...]:
        """The label biases of a calibration, from every answer the candidate has."""
        labels = self.model.adaptation.decoding.labels
        if calibration == "none":
            return ()
        if calibration == "contextual":
            assert candidate.content_free is not None
            bias = contextual_bias(candidate.content_free)
        elif calibration == "batch":
            bias = batch_bias(self._label_scores(candidate, candidate.answers))
        else:
            bias = prior_bias(self._label_scores(candidate, candidate.answers), self._prior)
        return tuple((label, float(b)) for label, b in zip(labels, bias, strict=True))

    def predictions(self, candidate: Candidate) -> list[str | None]:
        """What a candidate answered to the first dev examples, under its best calibration."""
        if self.calibrations == ("none",) or not candidate.answers:
            return [answer.parsed for answer in candidate.answers]
        labels = self.model.adaptation.decoding.labels
        label_scores = self._label_scores(candidate, candidate.answers)
        adjusted = self._calibrated(candidate, label_scores, candidate.best[0])
        return [labels[int(i)] for i in adjusted.argmax(axis=1)]

    def fitted_model(self, candidate: Candidate, calibration: Calibration) -> Model:
        """The model with this prompt and this calibration."""
        decoding = replace(
            self.model.adaptation.decoding, label_bias=self.label_bias(candidate, calibration)
        )
        return candidate.model.adapt(decoding=decoding)

    def answer(
        self, candidate: Candidate, model: Model, asked: Sequence[Example], *,
        estimate: TokenEstimate,
    ) -> list[Response]:  # fmt: skip
        """The answers of `model`, from the log where it was asked before.

        Their tokens are counted as spent by the candidate. `estimate` is what they were thought to
        cost.
        """
        key = answer_key(model, asked, seed=self.seed)
        logged = self._answer_log.find(key)
        if logged is not None:
            answers, seconds = logged
            self._logged_seconds += seconds
        else:
            started = time.monotonic()
            answers = self._answers(model, asked)
            self._answer_log.append(key, answers, time.monotonic() - started)
        spent = self.token_budget.spent
        for answer in answers:
            candidate.tokens += self.token_budget.spend(answer.usage)
        self.token_budget.learn_from(estimate, self.token_budget.spent - spent)
        return answers

    def _answers(self, model: Model, asked: Sequence[Example]) -> list[Response]:
        """Answers; for a scorer of likelihoods, responses that hold its measurements."""
        if not self.scorer.needs_likelihood:
            return model.answer(asked, seed=self.seed)
        with working(WorkContext()):
            sample_scores, usage = score_samples(model, asked, scorer=self.scorer, seed=self.seed)
        nats = [Response("", None, False, label_logprobs={NATS: s.value}) for s in sample_scores]
        return [replace(nats[0], usage=usage), *nats[1:]]

    def _wants_content_free(self, candidate: Candidate) -> bool:
        """Whether content-free inputs are to be asked for.

        With the nearest demonstrations each of them is a long prompt of its own, so there they wait
        until the candidate has survived a round, unless no other calibration is tried.
        """
        if "contextual" not in self.calibrations or candidate.content_free is not None:
            return False
        nearest = candidate.prompt.selection == "knn"
        return not nearest or bool(candidate.answers) or self.calibrations == ("contextual",)

    def _content_free(self, candidate: Candidate) -> list[tuple[Model, list[Example]]]:
        """(model, inputs) for inputs that say nothing, prompted as the candidate would be."""
        prompt = candidate.prompt
        passage = "N/A" if any(e.context for e in self.examples) else None
        empty = [
            Example(id=f"content-free-{i}", input=text, target="", context=passage)
            for i, text in enumerate(CONTENT_FREE)
        ]
        if prompt.selection != "knn" or not prompt.demonstrations or not self.examples:
            return [(candidate.model, empty)]
        # An input that says nothing has no nearest demonstrations: it borrows those of real ones.
        inputs = [e.text for e in self.examples[:KNN_CONTEXTS]]
        nearest = NearestDemonstrations(prompt.demonstrations).nearest(inputs, prompt.shots)
        fixed = [replace(prompt, demonstrations=shown, selection="all") for shown in nearest]
        return [(candidate.model.adapt(prompt=p), empty[:1]) for p in fixed]

    def _label_scores(self, candidate: Candidate, answers: Sequence[Response]) -> Scores:
        """(N, L) for N answers: what the decoding compares for each label, before any bias."""
        decoding = candidate.model.adaptation.decoding
        rows = [[(a.label_logprobs or {})[label] for label in decoding.labels] for a in answers]
        values = np.array(rows, dtype=np.float64)
        if decoding.length_normalised:
            probe = render_for(candidate.model, self.examples[:1])[0]
            count = self.model.backend.count_tokens
            lengths = [max(count(c), 1) for c in label_continuations(candidate.model, probe)]
            values = values / np.array(lengths)
        return values

    @cached_property
    def _prior(self) -> Scores:
        labels = self.model.adaptation.decoding.labels
        return class_prior([e.target for e in self.task.train], labels)

    def _score(self, candidate: Candidate) -> None:
        """Fill in the scores of the candidate's answers, and the log-probabilities of the targets,
        under each calibration."""
        examples = self.examples[: len(candidate.answers)]
        if self.calibrations == ("none",):
            candidate.scores = {"none": score_answers(self.task, examples, candidate.answers)}
            return
        labels = self.model.adaptation.decoding.labels
        targets = [labels.index(e.target) if e.target in labels else 0 for e in examples]
        label_scores = self._label_scores(candidate, candidate.answers)
        scores: dict[Calibration, list[float]] = {}
        for calibration in self.calibrations:
            if calibration == "contextual" and candidate.content_free is None:
                continue
            adjusted = self._calibrated(candidate, label_scores, calibration)
            predicted = [labels[int(i)] for i in adjusted.argmax(axis=1)]
            answers = [
                replace(answer, text=label, parsed=label)
                for answer, label in zip(candidate.answers, predicted, strict=True)
            ]
            scores[calibration] = score_answers(self.task, examples, answers)
            logprobs = log_softmax(adjusted)
            candidate.target_logprobs[calibration] = [
                float(row[target]) for row, target in zip(logprobs, targets, strict=True)
            ]
        candidate.scores = scores

    def _calibrated(self, candidate: Candidate, values: Scores, calibration: Calibration) -> Scores:
        """(N, L) less the bias of a calibration; one that reads the inputs is estimated on others
        than those it is taken from."""
        if calibration == "contextual":
            assert candidate.content_free is not None
            return np.asarray(values - contextual_bias(candidate.content_free))
        if calibration == "batch":
            return cross_fitted(values, batch_bias, seed=self.seed)
        if calibration == "prior":
            prior = self._prior
            return cross_fitted(values, lambda v: prior_bias(v, prior), seed=self.seed)
        return values


def balanced_order(examples: Sequence[Example], *, seed: int) -> list[Example]:
    """The examples shuffled, one of each target in turn: every beginning is as balanced as it can
    be.

    Targets that occur once each (free text) leave the examples simply shuffled.
    """
    shuffled = sorted(examples, key=lambda e: e.id)
    random.Random(seed).shuffle(shuffled)
    groups: dict[str, list[Example]] = {}
    for example in shuffled:
        groups.setdefault(example.target, []).append(example)
    turns = max((len(g) for g in groups.values()), default=0)
    return [g[i] for i in range(turns) for g in groups.values() if i < len(g)]


def score_answers(
    task: Task, examples: Sequence[Example], answers: Sequence[Response]
) -> list[float]:
    """One number for each answer, the higher the better.

    Under macro-F1 each class weighs the same, so that the mean is the balanced accuracy: macro-F1
    itself is no mean over examples. Scores that are better when lower change their sign.
    """
    scorer = scorer_for(task)
    if scorer.needs_likelihood:
        return [-(a.label_logprobs or {})[NATS] for a in answers]
    sign = 1.0 if scorer.higher_is_better else -1.0
    scores = [
        sign * scorer.of(answer.parsed or "", example.target, question=example.text)
        for answer, example in zip(answers, examples, strict=True)
    ]
    if scorer.metric != "macro-f1":
        return scores
    counts = Counter(e.target for e in examples)
    share = len(examples) / len(counts)
    return [s * share / counts[e.target] for s, e in zip(scores, examples, strict=True)]
