"""Candidates and how they do: each is asked about the same dev examples, in the same order.

A trial grows: what it was asked once is not asked again. Where labels are scored, every calibration
of a trial is judged on the same log-probabilities, at no further cost.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from luthier.content import Response
from luthier.context import WorkContext, checkpoint_folder, report_progress, working
from luthier.models.answering import label_continuations, render_for
from luthier.models.model import Model
from luthier.models.nearest import NearestDemonstrations
from luthier.models.prompt import Prompt
from luthier.records import Example, FitStep
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
from luthier.techniques.search.token_budget import TokenBudget, TokenEstimate, estimate_tokens

NATS = "nats per token of the target"
KNN_CONTEXTS = 4  # sets of nearest demonstrations over which content-free scores are averaged


@dataclass(eq=False)
class Trial:
    """One candidate prompt and what is known of it so far.

    `scores` holds one list for each calibration; where labels are scored `clarity` holds the
    log-probability, among the labels, of the right one: it tells apart what scores do not.
    """

    name: str
    model: Model
    changes: Mapping[str, str]
    answers: list[Response] = field(default_factory=list)
    content_free: Scores | None = None
    scores: dict[Calibration, list[float]] = field(default_factory=dict)
    clarity: dict[Calibration, list[float]] = field(default_factory=dict)
    tokens: int = 0

    @property
    def prompt(self) -> Prompt:
        """The candidate itself."""
        return self.model.adaptation.prompt

    @property
    def best(self) -> tuple[Calibration, float]:
        """The calibration with the highest mean, the simplest among equals, and that mean.

        There is none before the first answer.
        """
        return self.best_on(len(self.answers))

    def best_on(self, count: int) -> tuple[Calibration, float]:
        """The same for the first `count` answers."""
        means = {c: float(np.mean(p[:count])) for c, p in self.scores.items()}
        name = max(means, key=lambda c: means[c])
        return name, means[name]

    @property
    def tokens_per_request(self) -> float:
        """Tokens computed for one input, shared beginnings spread over the inputs."""
        return self.tokens / max(len(self.answers), 1)


class CandidateEvaluator:
    """Where trials are run. `model` brings all slots but the prompt; its biases are left out."""

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
        self.examples = in_turn(task.dev, seed=seed)[:most_examples]
        self.trials: list[Trial] = []
        self.history: list[FitStep] = []
        self.planned = 0
        self._journal = AnswerLog(checkpoint_folder())
        self._started = time.monotonic()
        self._replayed_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Wall time of the search, with what it took before an interruption."""
        return time.monotonic() - self._started + self._replayed_seconds

    def enter(self, name: str, prompt: Prompt, **changes: str) -> Trial:
        """Register a candidate; nothing is asked yet. The same prompt is never entered twice."""
        for known in self.trials:
            if known.prompt == prompt:
                return known
        trial = Trial(name, self.model.adapt(prompt=prompt), changes)
        self.trials.append(trial)
        return trial

    def grow(self, trial: Trial, count: int, *, keep: float = 0.0) -> bool:
        """Ask until the trial has `count` answers (0: only what a contextual calibration needs).

        False, and nothing asked, where that would exceed the budget or leave less than `keep` of
        it.
        """
        asked = self.examples[len(trial.answers) : count]
        empty = self._content_free(trial) if self._wants_content_free(trial) else []
        batches = [*([(trial.model, asked)] if asked else []), *empty]
        if not batches:
            return True
        costs = [estimate_tokens(model, inputs) for model, inputs in batches]
        if not self.token_budget.affords(sum(costs, TokenEstimate(0, 0)), keep=keep):
            return False
        self.token_budget.done += 1
        said = [
            self.ask(trial, model, inputs, cost=cost)
            for (model, inputs), cost in zip(batches, costs, strict=True)
        ]
        trial.answers += said.pop(0) if asked else []
        if empty:
            trial.content_free = self._values(trial, [a for batch in said for a in batch])
        if not trial.answers:
            return True
        trial.scores = self._judge(trial)
        calibration, mean = trial.best
        entry = FitStep(
            candidate=trial.name,
            part=trial.changes.get("part"),
            change=trial.changes.get("change"),
            selection=trial.changes.get("selection"),
            examples=len(trial.answers),
            dev_score=mean,
            calibration=calibration,
            tokens_per_request=round(trial.tokens_per_request, 1),
            spent_tokens=self.token_budget.spent,
        )
        self.history.append(entry)
        done = len(self.history)
        message = f"{trial.name}: {mean:.3f} on {len(trial.answers)} examples"
        report_progress(done, max(self.planned, done), message)
        return True

    def bias(self, trial: Trial, calibration: Calibration) -> tuple[tuple[str, float], ...]:
        """The label biases of a calibration, from every answer the trial has."""
        labels = self.model.adaptation.decoding.labels
        if calibration == "none":
            return ()
        if calibration == "contextual":
            assert trial.content_free is not None
            bias = contextual_bias(trial.content_free)
        elif calibration == "batch":
            bias = batch_bias(self._values(trial, trial.answers))
        else:
            bias = prior_bias(self._values(trial, trial.answers), self._prior)
        return tuple((label, float(b)) for label, b in zip(labels, bias, strict=True))

    def fitted(self, trial: Trial, calibration: Calibration) -> Model:
        """The model with this prompt and this calibration."""
        decoding = replace(self.model.adaptation.decoding, label_bias=self.bias(trial, calibration))
        return trial.model.adapt(decoding=decoding)

    def ask(
        self, trial: Trial, model: Model, asked: Sequence[Example], *, cost: TokenEstimate
    ) -> list[Response]:
        """Ask, out of the journal where it was asked before, and book the tokens on the trial."""
        key = answer_key(model, asked, seed=self.seed)
        known = self._journal.recall(key)
        if known is not None:
            answers, seconds = known
            self._replayed_seconds += seconds
        else:
            started = time.monotonic()
            answers = self._answers(model, asked)
            self._journal.keep(key, answers, time.monotonic() - started)
        spent = self.token_budget.spent
        for answer in answers:
            trial.tokens += self.token_budget.book(answer.usage)
        self.token_budget.settle(cost, self.token_budget.spent - spent)
        return answers

    def _answers(self, model: Model, asked: Sequence[Example]) -> list[Response]:
        """Answers; for a scorer of likelihoods, what it measures in the place of answers."""
        if not self.scorer.needs_likelihood:
            return model.answer(asked, seed=self.seed)
        with working(WorkContext()):
            sample_scores, usage = score_samples(model, asked, scorer=self.scorer, seed=self.seed)
        nats = [Response("", None, False, label_logprobs={NATS: j.value}) for j in sample_scores]
        return [replace(nats[0], usage=usage), *nats[1:]]

    def _wants_content_free(self, trial: Trial) -> bool:
        """Not yet asked for; beside others, and with the nearest, only once a trial has survived:
        there each content-free input is a long prompt of its own."""
        if "contextual" not in self.calibrations or trial.content_free is not None:
            return False
        nearest = trial.prompt.selection == "knn"
        return not nearest or bool(trial.answers) or self.calibrations == ("contextual",)

    def _content_free(self, trial: Trial) -> list[tuple[Model, list[Example]]]:
        """Inputs that say nothing, and the model as it would be prompted for them."""
        prompt = trial.prompt
        passage = "N/A" if any(e.context for e in self.examples) else None
        empty = [
            Example(id=f"content-free-{i}", input=text, target="", context=passage)
            for i, text in enumerate(CONTENT_FREE)
        ]
        if prompt.selection != "knn" or not prompt.demonstrations or not self.examples:
            return [(trial.model, empty)]
        # An input that says nothing has no nearest demonstrations: it borrows those of real ones.
        inputs = [e.text for e in self.examples[:KNN_CONTEXTS]]
        nearest = NearestDemonstrations(prompt.demonstrations).nearest(inputs, prompt.shots)
        fixed = [replace(prompt, demonstrations=shown, selection="all") for shown in nearest]
        return [(trial.model.adapt(prompt=p), empty[:1]) for p in fixed]

    def _values(self, trial: Trial, answers: Sequence[Response]) -> Scores:
        """(N, L): what the decoding compares, before any bias."""
        decoding = trial.model.adaptation.decoding
        rows = [[(a.label_logprobs or {})[label] for label in decoding.labels] for a in answers]
        values = np.array(rows, dtype=np.float64)
        if decoding.length_normalised:
            probe = render_for(trial.model, self.examples[:1])[0]
            count = self.model.backend.count_tokens
            lengths = [max(count(c), 1) for c in label_continuations(trial.model, probe)]
            values = values / np.array(lengths)
        return values

    @cached_property
    def _prior(self) -> Scores:
        labels = self.model.adaptation.decoding.labels
        return class_prior([e.target for e in self.task.train], labels)

    def _judge(self, trial: Trial) -> dict[Calibration, list[float]]:
        examples = self.examples[: len(trial.answers)]
        if self.calibrations == ("none",):
            return {"none": scores_of(self.task, examples, trial.answers)}
        labels = self.model.adaptation.decoding.labels
        values = self._values(trial, trial.answers)
        sample_scores: dict[Calibration, list[float]] = {}
        for calibration in self.calibrations:
            if calibration == "contextual" and trial.content_free is None:
                continue
            adjusted = self._adjusted(trial, values, calibration)
            said = [labels[int(i)] for i in adjusted.argmax(axis=1)]
            answers = [
                replace(a, text=s, parsed=s) for a, s in zip(trial.answers, said, strict=True)
            ]
            sample_scores[calibration] = scores_of(self.task, examples, answers)
            right = [labels.index(e.target) if e.target in labels else 0 for e in examples]
            logs = log_softmax(adjusted)
            trial.clarity[calibration] = [float(row[i]) for row, i in zip(logs, right, strict=True)]
        return sample_scores

    def _adjusted(self, trial: Trial, values: Scores, calibration: Calibration) -> Scores:
        if calibration == "contextual":
            assert trial.content_free is not None
            return np.asarray(values - contextual_bias(trial.content_free))
        if calibration == "batch":
            return cross_fitted(values, batch_bias, seed=self.seed)
        if calibration == "prior":
            prior = self._prior
            return cross_fitted(values, lambda v: prior_bias(v, prior), seed=self.seed)
        return values


def in_turn(examples: Sequence[Example], *, seed: int) -> list[Example]:
    """Shuffled, then one of each target in turn, so that every beginning is as balanced as can be.

    Targets that occur once each (free text) leave the examples simply shuffled.
    """
    shuffled = sorted(examples, key=lambda e: e.id)
    random.Random(seed).shuffle(shuffled)
    groups: dict[str, list[Example]] = {}
    for example in shuffled:
        groups.setdefault(example.target, []).append(example)
    turns = max((len(g) for g in groups.values()), default=0)
    return [g[i] for i in range(turns) for g in groups.values() if i < len(g)]


def scores_of(task: Task, examples: Sequence[Example], answers: Sequence[Response]) -> list[float]:
    """One number for each answer.

    Under macro-F1 each class weighs the same, so that the mean is the balanced accuracy: macro-F1
    itself is no mean over examples. Scores that are better when lower change their sign.
    """
    scorer = scorer_for(task)
    if scorer.needs_likelihood:
        return [-(a.label_logprobs or {})[NATS] for a in answers]
    sign = 1.0 if scorer.higher_is_better else -1.0
    sample_scores = [
        sign * scorer.score(answer.parsed or "", example.target)
        for answer, example in zip(answers, examples, strict=True)
    ]
    if scorer.metric != "macro-f1":
        return sample_scores
    counts = Counter(e.target for e in examples)
    share = len(examples) / len(counts)
    return [p * share / counts[e.target] for p, e in zip(sample_scores, examples, strict=True)]
