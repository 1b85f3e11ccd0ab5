"""The contract of a technique: settings in the constructor, data in `fit`, nothing changed."""

from __future__ import annotations

import dataclasses
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.content import Response
from luthier.errors import CapabilityError, LockedSplitError
from luthier.models.backend import Backend, Generated, ScoreResult
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.storage import open_adaptation
from luthier.records import Budget, Capability, Lineage
from luthier.serialization import to_plain
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, settings_of
from luthier.testing.expectations import expect, expect_equal, expect_error

FAMILIES = {"prompt", "soft prompt", "adapter", "weights", "head", "retrieval", "tools", "recipe"}
ASKED = 12  # dev examples whose answers are compared


def check_technique(
    technique: Technique,
    *,
    model: Model | None = None,
    task: Task | None = None,
    budget: Budget | None = None,
    seed: int = 0,
    reopen: bool = True,
) -> Model:
    """Hold a technique to its contract; returns the fitted model.

    **Arguments**

    - `model`: what it is fitted on; the fake model unless given.
    - `task`: the bundled task "routing" unless given.
    - `budget`: 200,000 tokens unless given.
    - `reopen`: False skips opening the saved model by the name of its base, for bases that have
      none (made in memory); the adaptation is read back either way.
    """
    model = load("fake") if model is None else model
    task = Task.load("routing") if task is None else task
    budget = budget or Budget(tokens=200_000)
    locked = task.without_test()
    with expect_error(LockedSplitError, "the test split must be locked"):
        _ = locked.test
    _check_description(technique)
    _check_plan(technique, model, locked)
    _check_needs(technique, model, locked)

    base = Model(model.backend)
    before = (model.backend.fingerprint, to_plain(model.adaptation.prompt), _answers(base, task))
    fitted = technique.fit(model, locked, budget=budget, seed=seed)
    after = (model.backend.fingerprint, to_plain(model.adaptation.prompt), _answers(base, task))
    expect_equal(after, before, "fit changed the base or the model it was given")
    expect(fitted.backend is model.backend, "fit must return a model on the same backend")

    again = technique.fit(model, locked, budget=budget, seed=seed)
    answers = _answers(fitted, task)
    expect_equal(_answers(again, task), answers, "the same seed must give the same predictions")

    _check_record(technique, model, fitted, budget=budget, seed=seed)
    _check_saving(fitted, task, answers, reopen=reopen)
    return fitted


def _check_description(technique: Technique) -> None:
    expect(isinstance(technique, Technique), "a technique must subclass luthier's Technique")
    expect(dataclasses.is_dataclass(technique), "a technique must be a dataclass of its settings")
    with expect_error(dataclasses.FrozenInstanceError, "the dataclass must be frozen"):
        technique.name = "other"  # type: ignore[misc]
    expect(technique.family in FAMILIES, f"family={technique.family!r} is none of {FAMILIES}")
    expect(technique.needs, "needs must name a capability at least")
    expect(technique.needs <= set(Capability), "needs must hold members of Capability")
    expect(isinstance(technique.trained, bool), "trained must be True or False")
    expect(isinstance(technique.card, Card), "card must be a Card")
    for field in dataclasses.fields(Card):
        text = getattr(technique.card, field.name)
        expect(text.strip(), f"the card's {field.name} must not be empty")
    if technique.family != "recipe":
        named = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", technique.name)
        expect(named, f"name={technique.name!r} must be lower case with hyphens")
    through_json = json.loads(json.dumps(to_plain(settings_of(technique))))
    rebuilt = _with_settings(technique, through_json)
    expect_equal(rebuilt, technique, "settings must survive JSON")


def _with_settings(technique: Technique, settings: dict[str, Any]) -> Technique:
    """Rebuilt from JSON, where tuples have become lists."""
    own = settings_of(technique)
    values = {k: tuple(v) if isinstance(own[k], tuple) else v for k, v in settings.items()}
    return type(technique)(**values)


def _check_plan(technique: Technique, model: Model, task: Task) -> None:
    """What a comparison asks before anything runs."""
    expect(isinstance(technique.footprint, Footprint), "footprint must be a Footprint")
    for asked, answer in (
        ("unmet_by_task", technique.unmet_by_task(task)),
        ("unmet_by_model", technique.unmet_by_model(model)),
    ):
        expect(answer is None, f"{asked} must be None for this task and model, not {answer!r}")
    content = technique.content()
    expect(content is None or content, "content() must be None or a digest")
    expect_equal(technique.content(), content, "content() must not change between two calls")
    steps = technique.chain()
    expect(steps, "chain() must hold a technique")
    expect(all(isinstance(s, Technique) for s in steps), "chain() must hold techniques")


def _check_needs(technique: Technique, model: Model, task: Task) -> None:
    """A model without capabilities is refused in words, before anything is asked of it."""
    unable = Model(Unable(model.backend), model.adaptation, model.lineage)
    with expect_error(
        CapabilityError, "fit must call check_needs before all else", saying="does not give"
    ):
        technique.fit(unable, task, budget=Budget(tokens=100_000), seed=0)


class Unable(Backend):
    """A backend without capabilities; asked all the same it fails the test."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name = backend.name
        self.fingerprint = backend.fingerprint
        self.facts = backend.facts
        self.capabilities = frozenset()

    def count_tokens(self, text: str) -> int:
        """As the backend that it stands for."""
        return self._backend.count_tokens(text)

    def generate(self, *asked: Any, **settings: Any) -> list[Generated]:
        """Must not be called."""
        raise AssertionError("the model was asked although it lacks what the technique needs")

    def score(self, *asked: Any, **settings: Any) -> list[ScoreResult]:
        """Must not be called."""
        raise AssertionError("the model was asked although it lacks what the technique needs")

    @contextmanager
    def session(self, *asked: Any, **settings: Any) -> Iterator[Any]:
        """Must not be called."""
        raise AssertionError("the model was trained although it lacks what the technique needs")
        yield


def _check_record(
    technique: Technique, model: Model, fitted: Model, *, budget: Budget, seed: int
) -> None:
    lineage = fitted.lineage
    expect(isinstance(lineage, Lineage), "the fitted model must have a lineage")
    assert lineage is not None
    expect_equal(lineage.technique, technique.name, "the lineage must name the technique")
    settings = to_plain(settings_of(technique))
    expect_equal(to_plain(lineage.settings), settings, "the lineage must hold the settings")
    expect_equal(lineage.seed, seed, "the lineage must hold the seed")
    if technique.family != "recipe":
        expect_equal(lineage.parent, model.lineage, "the lineage must go on from the model's")
    fit = lineage.fit
    for name in ("fit_seconds", "spent_tokens", "trainable_parameters", "train_examples"):
        value = getattr(fit, name)
        expect(value is not None and value >= 0, f"{name} must be measured, not {value!r}")
    if budget.tokens is not None and fit.spent_tokens is not None:
        spent = f"{fit.spent_tokens} of {budget.tokens} tokens"
        expect(fit.spent_tokens <= budget.tokens, f"fit spent more than its budget: {spent}")
    json.dumps(to_plain(fit), allow_nan=False)


def _check_saving(fitted: Model, task: Task, answers: Sequence[object], *, reopen: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved = fitted.save(Path(folder) / "saved")
        adaptation, lineage, _, fingerprint = open_adaptation(saved)
        expect_equal(fingerprint, fitted.backend.fingerprint, "the saved fingerprint must fit")
        found, wanted = to_plain(lineage), to_plain(fitted.lineage)
        expect_equal(found, wanted, "saving changed the lineage")
        same = _answers(Model(fitted.backend, adaptation), task)
        expect_equal(same, answers, "saving changed the answers")
        if reopen:
            expect_equal(_answers(load(saved), task), answers, "opening by name changed answers")


def _answers(model: Model, task: Task) -> list[tuple[object, ...]]:
    """What a model answers to some dev examples, to the last digit."""
    return [_exact(response) for response in model.answer(task.dev[:ASKED])]


def _exact(response: Response) -> tuple[object, ...]:
    scores = tuple(sorted((response.label_logprobs or {}).items()))
    return (response.text, response.parsed, response.parseable, scores)
