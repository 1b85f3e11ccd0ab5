"""`compare` from the question to the record, with the fake model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier.compare import Comparison, Options, RunProgress, compare
from luthier.compare.comparison import Run
from luthier.compare.costs import speed as speed_module
from luthier.compare.plan import Plan
from luthier.compare.running import perform_run as perform_module
from luthier.compare.running.run_context import HardCapReached
from luthier.errors import (
    BudgetError,
    InterruptedRun,
    ModelError,
    StorageError,
    TaskError,
    TechniqueError,
    UserError,
)
from luthier.ledger.run_ledger import Ledger
from luthier.models.fake import FakeBackend
from luthier.models.load import load
from luthier.models.model import Model
from luthier.records import Budget, Capability
from luthier.scoring.statistics.with_best import COMMONEST
from luthier.task.task import Task
from tests.compare_stubs import Drawn, OutOfRoom, Stopped, Swallowed, toy_task

PLENTY = Budget(tokens=3_000_000)


class Recorder:
    """A listener that records everything."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.progress: list[RunProgress] = []
        self.runs: list[tuple[str, str, bool]] = []

    def planned(self, plan: Plan, folder: Path) -> None:
        self.plan = plan

    def progressed(self, progress: RunProgress) -> None:
        self.progress.append(progress)

    def ended(self, technique: str, run: Run, *, from_ledger: bool) -> None:
        self.runs.append((technique, run.status, from_ledger))


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def task() -> Task:
    return toy_task()


def run(task: Task, *techniques: Any, **rest: Any) -> Comparison:
    settings: dict[str, Any] = {"budget": PLENTY, **rest}
    return compare(task, load("fake"), techniques=techniques, **settings)


def test_a_whole_comparison(task: Task, tmp_path: Path) -> None:
    recorder = Recorder()
    found = run(
        task,
        "zero-shot",
        "few-shot(shots=6, selection=random, sets=1, orders=0)",
        Drawn(),
        options=Options(listener=recorder),
    )
    assert [r.status for r in found.results] == ["finished"] * 3
    zero, few, drawn = found.results
    assert len(zero.runs) == 1
    assert [s.seed for s in few.runs] == [s.seed for s in drawn.runs] == [0, 1, 2]
    assert (zero.seeded, few.seeded, drawn.seeded) == (False, True, True)
    assert all(row.bound is not None and 0.0 <= row.bound <= 1.0 for row in found.results)
    assert (few.score.value or 0) > (zero.score.value or 0)
    assert few.technique == "few-shot(shots=6, selection='random', sets=1, orders=0)"
    assert drawn.cost.fit_tokens == 1000
    assert drawn.cost.trainable_parameters == 7
    for row in found.results:
        assert row.score.low is not None
        assert (row.cost.artifact_bytes or 0) > 0
        assert (row.cost.latency_p50_ms or 0) > 0
        assert (row.cost.peak_memory_bytes or 0) > 1_000_000
        assert (row.cost.per_1k_requests or 0) > 0
        assert len(row.runs[0].sample_scores) == len(task.test)
    assert "Queue: " in few.runs[0].prompt_text or "queue" in few.runs[0].prompt_text.lower()
    assert len(found.tests) == 3  # two against the best, and always the commonest label
    assert found.task.chance is not None
    assert found.provenance.luthier is not None
    assert recorder.plan == found.plan
    assert [r for r in recorder.runs if r[2]] == []
    assert recorder.progress[-1].runs == 7
    assert all(0 <= p.fraction <= 1 for p in recorder.progress)
    # Seeds go round: everything has a first seed before anything has a second.
    plain = len(found.references)
    assert [name for name, *_ in recorder.runs][:plain] == [r.technique for r in found.references]
    names = [name for name, *_ in recorder.runs][plain:]
    assert names[:3] == [r.technique for r in found.results]


def test_the_folder_answers_as_it_was_evaluated(task: Task) -> None:
    found = run(task, "zero-shot", Drawn())
    row = found.result("drawn")
    assert row.path is not None
    assert row.best is not None
    assert row.best.dev_score == max(s.dev_score or 0 for s in row.runs)
    opened = luthier.load(row.path)
    answers = [a.parsed for a in opened.answer(task.test)]
    assert answers == [j.prediction for j in row.best.sample_scores]
    assert opened.lineage is not None
    assert opened.lineage.seed == row.best_seed


def test_the_same_call_again_does_nothing_and_says_the_same(task: Task, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    first = run(task, "zero-shot", Drawn(diary=str(diary)))
    wrote = diary.read_text("utf-8")
    recorder = Recorder()
    second = run(task, "zero-shot", Drawn(diary=str(diary)), options=Options(listener=recorder))
    assert diary.read_text("utf-8") == wrote
    assert second == first
    assert [kept for *_, kept in recorder.runs] == [True] * (4 + len(second.references))
    assert Comparison.load(first.folder or "") == first
    assert json.loads((Path(first.folder or "") / "comparison.json").read_text("utf-8"))["results"]


def test_the_seed_makes_another_run_and_the_price_does_not(task: Task, tmp_path: Path) -> None:
    diary, out = tmp_path / "diary", tmp_path / "out"
    stub = Drawn(diary=str(diary))
    first = run(task, stub, seeds=1, out=out)
    prices = tmp_path / "prices.yaml"
    prices.write_text("machine_hour: 1000\n", "utf-8")
    dear = run(task, stub, seeds=1, out=out, options=Options(prices=prices))
    assert diary.read_text("utf-8").count("fitted") == 1
    old, new = first.results[0].cost.per_1k_requests, dear.results[0].cost.per_1k_requests
    assert new == pytest.approx((old or 0) * 1000 / 0.1)
    other = run(task, stub, seeds=1, out=out, options=Options(seed=5))
    assert diary.read_text("utf-8").count("fitted") == 2
    assert other.results[0].runs[0].seed == 5


def test_a_technique_that_raises_is_a_row_and_the_rest_goes_on(task: Task) -> None:
    found = run(task, "zero-shot", Drawn(fails="it broke"), "lora")
    zero, drawn, lora = found.results
    assert zero.status == "finished"
    assert (drawn.status, drawn.reason) == ("failed", "RuntimeError: it broke")
    assert drawn.score.value is None
    assert lora.status == "skipped"
    assert lora.reason == "lora needs gradients, which fake does not give"
    assert found.verdict.best == "zero-shot"
    log = Path(found.folder or "") / "errors"
    assert "Traceback" in next(log.iterdir()).read_text("utf-8")


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(task: Task) -> None:
    with pytest.raises(InterruptedRun, match=r"1 of 4 runs are finished") as told:
        run(task, "zero-shot", Stopped())
    assert isinstance(told.value.__cause__, KeyboardInterrupt)
    assert "same command again" in str(told.value)
    folder = next(Path("runs").iterdir())
    found = Comparison.load(folder)
    assert [r.status for r in found.results] == ["finished", "planned"]
    assert found.verdict.best == "zero-shot"


def test_a_disk_that_is_full_in_a_fit_ends_the_comparison_and_keeps_the_rest(task: Task) -> None:
    with pytest.raises(StorageError, match="is full"):
        run(task, Drawn(), OutOfRoom(), seeds=1)


def test_an_interrupt_that_an_import_turned_into_an_error_is_an_interrupt(task: Task) -> None:
    with pytest.raises(InterruptedRun, match="0 of 1 runs"):
        run(task, Swallowed(), seeds=1)


def test_past_the_time_limit_the_rest_is_stopped_and_goes_on_later(task: Task) -> None:
    options = Options(hard_cap_minutes=0.01)
    slow = Drawn(steps=20, pause=0.1)
    found = run(task, "zero-shot", slow, seeds=1, options=options)
    row = found.results[1]
    assert row.status == "stopped"
    assert row.reason is not None
    assert "time limit" in row.reason
    assert any("same command again" in s for s in found.verdict.next_steps)
    again = run(task, "zero-shot", slow, seeds=1)
    assert [r.status for r in again.results] == ["finished", "finished"]


def test_a_changed_artifact_is_made_anew(task: Task) -> None:
    first = run(task, Drawn(), seeds=1)
    artifact = Path(first.folder or "") / (first.results[0].runs[0].path or "") / "luthier.yaml"
    artifact.write_text(artifact.read_text("utf-8") + "\n# meddled with\n", "utf-8")
    second = run(task, Drawn(), seeds=1)
    assert second.results[0].runs[0].started != first.results[0].runs[0].started
    assert second.results[0].score == first.results[0].score


def test_a_kill_between_fit_and_score_does_not_fit_again(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = tmp_path / "diary"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(perform_module, "score_run", killed)
        with pytest.raises(InterruptedRun):
            run(task, Drawn(diary=str(diary)), seeds=1)
    found = run(task, Drawn(diary=str(diary)), seeds=1)
    assert found.results[0].status == "finished"
    assert diary.read_text("utf-8").count("fitted") == 1


def test_a_full_disk_ends_the_comparison_in_words(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Model, folder: Path) -> Path:
        raise OSError(28, "No space left on device", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(Model, "save", full)
        with pytest.raises(StorageError, match="full"):
            run(task, "zero-shot")
    assert run(task, "zero-shot").results[0].status == "finished"


def test_recipes_score_every_step(task: Task, tmp_path: Path) -> None:
    few = "few-shot(shots=4, selection=random, sets=1, orders=0)"
    recorder = Recorder()
    found = run(task, "zero-shot", f"zero-shot -> {few}", options=Options(listener=recorder))
    names = [r.technique for r in found.results]
    recipe = f"zero-shot -> {few.replace('random', repr('random'))}"
    assert names == ["zero-shot", f"zero-shot (step 1 of {recipe})", recipe]
    step, whole = found.results[1:]
    assert step.part_of == recipe
    assert step.status == whole.status == "finished"
    assert step.path is not None
    assert luthier.load(step.path).adaptation.prompt.demonstrations == ()
    assert whole.path is not None
    opened = luthier.load(whole.path)
    assert len(opened.adaptation.prompt.demonstrations) == 4
    assert opened.lineage is not None
    assert opened.lineage.technique == recipe
    assert opened.lineage.parent is not None
    assert found.verdict.pick in ("zero-shot", recipe)
    again = Recorder()
    run(task, "zero-shot", f"zero-shot -> {few}", options=Options(listener=again))
    assert all(kept for *_, kept in again.runs)


def test_a_curve_is_nested_and_can_be_asked_for_later(task: Task, tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    stub = Drawn(diary=str(diary))
    assert run(task, "zero-shot", stub, seeds=2).curve == ()
    found = run(task, "zero-shot", stub, seeds=2, options=Options(curve=(0.25, 0.5)))
    assert [(p.technique, p.fraction) for p in found.curve] == [
        (found.results[1].technique, 0.25),
        (found.results[1].technique, 0.5),
    ]
    counts = [p.train_examples for p in found.curve]
    assert counts == [round(len(task.train) / 4), round(len(task.train) / 2)]
    assert diary.read_text("utf-8").count("fitted") == 4


def test_plan_only_runs_nothing(task: Task) -> None:
    found = run(task, "zero-shot", Drawn(), options=Options(plan_only=True))
    assert [r.status for r in found.results] == ["planned", "planned"]
    assert found.verdict.pick is None
    assert run(task, "zero-shot", Drawn()).plan == found.plan


def test_two_comparisons_in_one_folder_share_their_runs(task: Task, tmp_path: Path) -> None:
    out, diary = tmp_path / "out", tmp_path / "diary"
    each = Budget(tokens=100_000)
    stub = Drawn(diary=str(diary))
    run(task, stub, seeds=1, out=out, budget=each)
    both = run(task, "zero-shot", stub, seeds=1, out=out, budget=each)
    assert diary.read_text("utf-8").count("fitted") == 1
    assert [r.technique for r in Comparison.load(out).results] == [
        r.technique for r in both.results
    ]
    with Ledger(out / "ledger.sqlite") as store:
        assert len(store.comparisons()) == 2


def test_a_resumed_comparison_keeps_its_budgets(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = 10_000.0
    monkeypatch.setattr(speed_module, "_measure", lambda *_: measured)
    first = run(task, "zero-shot", Drawn(), budget="10m")
    measured = 1_000.0
    assert run(task, "zero-shot", Drawn(), budget="10m").plan == first.plan
    other = run(task, "zero-shot", Drawn(), budget="10m", out=tmp_path / "fresh")
    mine, theirs = (p.techniques[1].budget_tokens for p in (first.plan, other.plan))
    assert mine is not None
    assert theirs is not None
    assert theirs < mine / 5


def test_a_speed_is_steady(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("fake")
    found = []
    for measured in (1000.0, 1100.0, 700.0, 400.0, 1000.0, 1300.0, 1000.0, None):
        monkeypatch.setattr(speed_module, "_measure", lambda *_, now=measured: now)
        found.append(speed_module.tokens_per_second(model, task))
    assert found == [1000.0, 1000.0, 1000.0, 400.0, 1000.0, 1300.0, 1300.0, 1300.0]


def test_a_speed_is_measured_where_the_backend_has_none(task: Task) -> None:
    assert (speed_module.tokens_per_second(load("fake"), task) or 0) > 100


def test_every_fit_gets_the_same_tokens(task: Task) -> None:
    found = run(task, "zero-shot", Drawn(), Drawn(steps=1), options=Options(plan_only=True))
    assert {planned.budget_tokens for planned in found.plan.techniques} == {500_000}
    names = [planned.name for planned in found.plan.techniques]
    assert names == ["zero-shot", "drawn", "drawn(steps=1)"]


def test_a_model_that_is_adapted_already_is_another_model(task: Task) -> None:
    base = run(task, "zero-shot", Drawn(), seeds=1)
    started = luthier.load(base.result("drawn").path or "")
    found = compare(task, started, techniques=["zero-shot"], budget=PLENTY)
    assert found.id != compare(task, load("fake"), techniques=["zero-shot"], budget=PLENTY).id
    assert found.results[0].score.value == base.result("drawn").score.value


def test_a_backend_without_logprobs_is_compared_by_its_text(task: Task) -> None:
    backend = FakeBackend(
        reply=lambda text: "billing" if "invoice" in text else "no idea",
        capabilities=frozenset({Capability.TEXT}),
    )
    found = compare(task, Model(backend), techniques=["zero-shot"], budget=PLENTY)
    row = found.results[0]
    assert row.status == "finished"
    assert row.parse_rate.value is not None
    assert row.parse_rate.value < 1


def test_json_has_the_shape_of_the_contract(task: Task) -> None:
    found = json.loads(json.dumps(run(task, "zero-shot", "lora").to_json(), allow_nan=False))
    assert {"task", "model", "leaks", "notes", "rows", "references", "verdict"} <= set(found)
    for row in found["rows"]:
        assert set(row) == {
            "name", "technique", "base", "status", "score", "bound", "parse_rate", "cut_answers",
            "seeds", "epochs", "undertrained", "fit_seconds", "total_cost",
            "trainable_parameters", "artifact_bytes", "tokens_per_request", "latency_ms",
            "cost_per_1k_requests", "cost_per_1k_interval", "path", "reason",
            "notes",
        }  # fmt: skip
        assert set(row["score"]) == {"metric", "value", "low", "high"}
        assert set(row["latency_ms"]) == {"p50", "p95"}
    assert {"pick", "because", "tied_with", "break_even_requests"} <= set(found["verdict"])
    assert found["tolerance"] == found["verdict"]["tolerance"] == 3.0
    assert found["verdict"]["bound"] is not None or found["verdict"]["pick"] is None
    for test in found["tests"]:
        assert test["best"] == found["verdict"]["best"]
        assert test["tied"] == (test["p_adjusted"] >= 0.05) == (test["low"] <= 0 <= test["high"])
    assert COMMONEST in {test["technique"] for test in found["tests"]}


def test_the_tolerance_of_the_last_call_counts(task: Task) -> None:
    first = run(task, "zero-shot", Drawn())
    again = run(task, "zero-shot", Drawn(), options=Options(tolerance=99.0))
    assert (first.verdict.tolerance, again.verdict.tolerance) == (3.0, 99.0)
    assert again.id == first.id
    assert again.folder is not None
    assert Comparison.load(again.folder).verdict == again.verdict


def test_wrong_questions_are_answered_before_anything_is_loaded(task: Task) -> None:
    def asked(**wrong: Any) -> None:
        settings: dict[str, Any] = {"techniques": "zero-shot", "budget": PLENTY, **wrong}
        compare(task, "no-such-model", **settings)

    with pytest.raises(TechniqueError, match="lorra"):
        asked(techniques="lorra")
    with pytest.raises(TechniqueError, match="No technique"):
        asked(techniques=[])
    with pytest.raises(TechniqueError, match="seeds=0"):
        asked(seeds=0)
    with pytest.raises(BudgetError, match="soon"):
        asked(budget="soon")
    with pytest.raises(TaskError, match="price book"):
        asked(options=Options(prices="missing.yaml"))
    with pytest.raises(ModelError):
        asked()
    assert not Path("runs").exists()


def test_a_budget_too_small_for_anything_says_what_would_do(task: Task) -> None:
    with pytest.raises(BudgetError, match="too small") as told:
        run(task, "zero-shot", Drawn(), budget=Budget(tokens=100))
    least = int(str(told.value).split("--budget ")[1].split("tok")[0])
    assert run(task, "zero-shot", Drawn(), budget=Budget(tokens=least + 30)).results


def test_a_folder_without_a_ledger_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no ledger"):
        Comparison.load(tmp_path)


def test_a_limit_scores_fewer_examples(task: Task) -> None:
    found = run(task, "zero-shot", options=Options(limit=7))
    assert len(found.results[0].runs[0].sample_scores) == 7
    assert found.task.test_examples == 7


def test_the_room_can_be_called(task: Task) -> None:
    found = luthier.compare(task, load("fake"), techniques=["zero-shot"], budget=PLENTY)
    assert replace(found, folder=None).results[0].status == "finished"


def test_a_fit_that_was_stopped_before_its_score_says_so(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_time(*_: object) -> None:
        raise HardCapReached("The time limit was reached")

    with monkeypatch.context() as patch:
        patch.setattr(perform_module, "score_run", out_of_time)
        found = run(task, Drawn(), seeds=1)
    assert (found.results[0].status, found.results[0].score.value) == ("stopped", None)
    assert "fitted" in (found.results[0].reason or "")
    assert run(task, Drawn(), seeds=1).results[0].status == "finished"
