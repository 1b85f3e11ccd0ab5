"""Prompt techniques where labels are not scored: models that only write, free text, perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from luthier.errors import CapabilityError
from luthier.models.adaptation import Adaptation
from luthier.models.backend import ScoreRequest, ScoreResult
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Budget, Capability, Example, Kind
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.techniques.prompt.few_shot import FewShot
from luthier.techniques.prompt.prompt_search import PromptSearch
from luthier.techniques.prompt.zero_shot import ZeroShot
from tests.test_prompting import FILLER, accuracy, make_task


def test_a_model_that_only_writes() -> None:
    task = make_task()
    text_only = Model(FakeBackend(capabilities=frozenset({Capability.TEXT})))
    fitted = FewShot(selection="knn").fit(text_only, task.without_test(), budget=Budget())
    assert fitted.adaptation.decoding.label_bias == ()
    assert accuracy(fitted, task) > 0.6
    for technique in (FewShot(calibrate=True), ZeroShot(calibrate="batch")):
        with pytest.raises(CapabilityError, match="log-probabilities"):
            technique.fit(text_only, task.without_test(), budget=Budget())


def test_free_text_is_scored_by_the_tasks_scorer() -> None:
    rows = [Example(str(i), f"say {w}", w.upper()) for i, w in enumerate(FILLER * 3)]
    spec = TaskSpec(name="loud", instruction="Shout.", kind=Kind.GENERATE, scorer="exact-match")
    task = Task(spec, train=tuple(rows[:30]), dev=tuple(rows[30:]), _test=())
    model = Model(FakeBackend())
    fitted = FewShot(selection="knn").fit(model, task.without_test(), budget=Budget())
    assert fitted.lineage is not None
    assert fitted.lineage.fit.dev_score > 0.9
    assert fitted.lineage.fit.settled["calibration"] == "none"
    searched = PromptSearch(candidates=3).fit(model, task.without_test(), budget=Budget())
    assert searched.lineage is not None
    assert searched.lineage.fit.dev_score > 0.9


def test_perplexity_prefers_likelier_targets() -> None:
    class Echo(FakeBackend):
        """A target is as likely as it is often in the prompt."""

        def score(
            self, requests: Sequence[ScoreRequest], adaptation: Adaptation
        ) -> list[ScoreResult]:
            results = super().score(requests, adaptation)
            counts = [r.prompt.text.count(r.continuations[0]) for r in requests]
            return [
                replace(result, logprobs=(-8.0 / (1 + count),), tokens=(1,))
                for result, count in zip(results, counts, strict=True)
            ]

    rows = [Example(str(i), f"say {w}", w) for i, w in enumerate(FILLER * 4)]
    spec = TaskSpec(name="echo", instruction="Say it.", kind=Kind.GENERATE, scorer="perplexity")
    task = Task(spec, train=tuple(rows[:30]), dev=tuple(rows[30:]), _test=())
    fitted = FewShot(orders=0).fit(Model(Echo()), task.without_test(), budget=Budget())
    assert fitted.lineage is not None
    scores = [row.dev_score for row in fitted.lineage.fit.history]
    assert all(score < 0 for score in scores)
    assert fitted.lineage.fit.dev_score > max(scores) - 0.2
    assert fitted.lineage.fit.settled["selection"] == "knn"
