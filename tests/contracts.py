"""What every implementation of a contract must hold to, ours or a plugin's.

A plugin's author copies this file or calls it: `check_technique(MyTechnique(), model, task)`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.content import Response
from luthier.errors import CapabilityError, LockedSplitError
from luthier.models.adaptation import Adaptation
from luthier.models.load import load
from luthier.models.model import Model
from luthier.serialization import to_plain as plain
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Technique, settings_of

FAMILIES = {"prompt", "soft prompt", "adapter", "weights", "retrieval", "recipe"}


def check_technique(
    technique: Technique,
    model: Model,
    task: Task,
    *,
    budget: Budget | None = None,
    seed: int = 0,
    reopen: bool = True,
) -> Model:
    """Hold a technique to its contract on one model and one task; returns the fitted model.

    `budget` is 200,000 tokens unless given. `reopen` False skips opening the saved model by name,
    for bases that have none (made in memory); the adaptation is read back either way.
    """
    budget = budget or Budget(tokens=200_000)
    locked = task.without_test()
    with pytest.raises(LockedSplitError):
        _ = locked.test
    _check_description(technique)
    _check_needs(technique, model, locked)

    base = Model(model.backend)
    before = (model.backend.fingerprint, plain(model.adaptation.prompt), _said(base, task))
    fitted = technique.fit(model, locked, budget=budget, seed=seed)
    after = (model.backend.fingerprint, plain(model.adaptation.prompt), _said(base, task))
    assert after == before, "fit changed the base or the model it was given"
    assert fitted.backend is model.backend

    again = technique.fit(model, locked, budget=budget, seed=seed)
    answers = _said(fitted, task)
    assert _said(again, task) == answers, "same seed, other predictions"

    _check_record(technique, model, fitted, budget=budget, seed=seed)
    _check_saving(fitted, task, answers, reopen=reopen)
    return fitted


def _check_description(technique: Technique) -> None:
    assert isinstance(technique, Technique)
    assert dataclasses.is_dataclass(technique)
    with pytest.raises(dataclasses.FrozenInstanceError):
        technique.name = "other"  # type: ignore[misc]
    assert technique.family in FAMILIES
    assert technique.needs
    assert technique.needs <= set(Capability)
    assert isinstance(technique.trained, bool)
    assert isinstance(technique.card, Card)
    assert all(getattr(technique.card, f.name).strip() for f in dataclasses.fields(Card))
    if technique.family != "recipe":
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", technique.name)
    through_json = json.loads(json.dumps(plain(settings_of(technique))))
    assert _like(technique, through_json) == technique, "settings do not survive a dict"


def _like(technique: Technique, settings: dict[str, Any]) -> Technique:
    """Rebuilt from JSON, where tuples have become lists."""
    own = settings_of(technique)
    back = {k: tuple(v) if isinstance(own[k], tuple) else v for k, v in settings.items()}
    return type(technique)(**back)


def _check_needs(technique: Technique, model: Model, task: Task) -> None:
    """A model that gives nothing is refused in words, before anything is asked of it."""
    mute = Model(_Mute(model.backend), model.adaptation, model.lineage)  # type: ignore[arg-type]
    with pytest.raises(CapabilityError, match="does not give"):
        technique.fit(mute, task, budget=Budget(tokens=100_000), seed=0)


class _Mute:
    """A backend without capabilities, which fails the test when it is asked all the same."""

    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        assert name not in ("score", "generate", "session"), "asked in spite of its capabilities"
        return getattr(self._backend, name)


def _check_record(
    technique: Technique, model: Model, fitted: Model, *, budget: Budget, seed: int
) -> None:
    lineage = fitted.lineage
    assert isinstance(lineage, Lineage)
    assert lineage.technique == technique.name
    assert plain(lineage.settings) == plain(settings_of(technique))
    assert lineage.seed == seed
    if technique.family != "recipe":
        assert lineage.parent == model.lineage
    fit = lineage.fit
    assert fit.fit_seconds is not None
    assert fit.fit_seconds >= 0
    assert fit.spent_tokens is not None
    assert fit.spent_tokens >= 0
    if budget.tokens is not None:
        assert fit.spent_tokens <= budget.tokens, "spent more than the budget"
    assert fit.trainable_parameters is not None
    assert fit.train_examples is not None
    json.dumps(plain(fit), allow_nan=False)


def _check_saving(fitted: Model, task: Task, answers: Sequence[object], *, reopen: bool) -> None:
    from luthier.models.storage import open_adaptation

    with tempfile.TemporaryDirectory() as folder:
        saved = fitted.save(Path(folder) / "saved")
        adaptation, lineage, _, fingerprint = open_adaptation(saved)
        assert fingerprint == fitted.backend.fingerprint
        assert plain(lineage) == plain(fitted.lineage)
        assert _said(Model(fitted.backend, adaptation), task) == answers, "saving changed answers"
        if reopen:
            assert _said(load(saved), task) == answers, "opening by name changed answers"
    assert isinstance(fitted.adaptation, Adaptation)


def _said(model: Model, task: Task) -> list[tuple[object, ...]]:
    """What a model says to some dev examples, to the last digit."""
    answers = model.answer(task.dev[:12])
    return [_exact(a) for a in answers]


def _exact(answer: Response) -> tuple[object, ...]:
    scores = tuple(sorted((answer.label_logprobs or {}).items()))
    return (answer.text, answer.parsed, answer.parseable, scores)
