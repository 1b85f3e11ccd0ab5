"""After the choice: the pick on train and dev together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest

import luthier
from luthier.compare.comparison import Comparison
from luthier.compare.options import Options
from luthier.compare.run_comparison import compare
from luthier.models.model import Model
from luthier.records import Budget, FitRecord, TrainingFacts
from luthier.report.html import render_html
from luthier.report.technique_view import refit_sentence
from luthier.task.task import Task
from luthier.techniques.spelling import parse_technique
from tests.compare_stubs import Drawn, toy_task


@dataclass(frozen=True)
class Settled(Drawn):
    """Can be fitted without dev; remembers how many tokens it was given."""

    shots: int = 40
    given: int = 0

    name: ClassVar[str] = "settled"

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The same demonstrations for every seed, which are good ones."""
        return super().fit(model, task, budget=budget, seed=1)

    def settled(self, record: FitRecord) -> Settled | None:
        """With a number that stands for what was chosen on dev."""
        return replace(self, given=7)


@dataclass(frozen=True)
class Choosy(Settled):
    """Cannot be fitted without dev."""

    name: ClassVar[str] = "choosy"

    def settled(self, record: FitRecord) -> None:
        """It always chooses there."""


@pytest.fixture(scope="module")
def task() -> Task:
    return toy_task(400)


def refitted(task: Task, folder: Path, technique: Drawn, *, refit: bool = True) -> Comparison:
    return compare(
        task, "fake", techniques=[technique], budget=Budget(tokens=300_000), seeds=3, out=folder,
        options=Options(refit=refit, references=False),
    )  # fmt: skip


def test_the_pick_is_fitted_again_on_train_and_dev(task: Task, tmp_path: Path) -> None:
    plain = refitted(task, tmp_path, Settled(), refit=False)
    assert plain.refit is None
    assert plain.to_json()["refit"] is None
    made = refitted(task, tmp_path, Settled())
    assert made.verdict == plain.verdict, "the choice is made before"
    assert made.refit is not None
    run = made.refit.run
    assert (run.status, run.seed) == ("finished", made.result("settled").best_seed)
    assert run.train_examples == len(task.train) + len(task.dev)
    assert run.settings["given"] == 7
    assert made.refit.path == str(tmp_path / "settled-refit")
    assert luthier.load(made.refit.path).ask("my parcel is late") in task.labels
    assert f"({run.train_examples} examples" in refit_sentence(made)
    assert refit_sentence(made) in render_html(made)
    assert "settled-refit" in render_html(made), "it is what is asked"
    assert made.to_json()["refit"]["score"] == run.score.value
    again = refitted(task, tmp_path, Settled())
    assert again.refit is not None
    assert again.refit.run.finished == run.finished, "it was in the ledger"
    assert Comparison.load(tmp_path).refit == again.refit


def test_what_cannot_do_without_dev_says_so(task: Task, tmp_path: Path) -> None:
    made = refitted(task, tmp_path, Choosy())
    assert made.refit is not None
    assert (made.refit.run.status, made.refit.path) == ("skipped", None)
    assert "choosy chooses on dev" in refit_sentence(made)


def test_what_was_chosen_on_dev_becomes_a_setting() -> None:
    facts = TrainingFacts(3e-3, (1e-3, 3e-3), 10, 2, 4.0, 16, stopped_early=False)
    lora = luthier.LoRA(rank=4)
    assert lora.settled(FitRecord(training=facts)) == luthier.LoRA(rank=4, learning_rates=(3e-3,))
    probe = parse_technique("linear-probe")
    record = FitRecord(settled={"layer": 3, "pooling": "mean", "C": 0.1})
    settled = probe.settled(record)
    assert settled == parse_technique("linear-probe(layer=3, pooling=mean, penalty=0.1)")
    assert parse_technique("few-shot").settled(FitRecord()) is None


def test_a_refitted_model_has_met_train_and_dev(tmp_path: Path) -> None:
    task, model = luthier.Task.load("routing").without_test(), luthier.load("nano")
    small = Model(model.backend)
    probe = parse_technique("linear-probe(layer=4, pooling=mean, penalty=0.1)")
    from luthier.compare.running.refit import with_dev

    fitted = probe.fit(small, with_dev(task), budget=Budget(tokens=200_000), seed=0)
    assert fitted.lineage is not None
    assert fitted.lineage.met == set(task.example_hashes)
    assert fitted.lineage.fit.train_examples == len(task.train) + len(task.dev)
