"""Several bases in one comparison: one table, one family of tests, one pick."""

from __future__ import annotations

import gc
import importlib
import io
import json
import weakref
from pathlib import Path
from typing import Any

import pytest

import luthier
from luthier.cli.main import run as command
from luthier.compare import Comparison, Options, compare
from luthier.compare.costs import Cost, Outlay, Price, outlay, outlay_unit
from luthier.compare.open_bases import open_bases, parse_models
from luthier.errors import ModelError, UserError
from luthier.models.fake import FakeBackend
from luthier.models.load import EMBEDDED, load
from luthier.models.model import Model
from luthier.records import Budget
from luthier.report import terminal_table, write_html
from luthier.task.task import Task
from tests.compare_stubs import Drawn, toy_rows, toy_task

PLENTY = Budget(tokens=3_000_000)
TASK_FILE = """
name: toy
instruction: Which queue?
data: toy.jsonl
input: input
target: target
kind: classify
"""


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def task() -> Task:
    return toy_task(300)


def on_two(task: Task, *techniques: Any, **rest: Any) -> Comparison:
    settings: dict[str, Any] = {"budget": PLENTY, "seeds": 2, **rest}
    return compare(
        task, "fake:a,fake:b", techniques=techniques or ("zero-shot", Drawn()), **settings
    )


def table(comparison: Comparison) -> str:
    from rich.console import Console

    page = io.StringIO()
    Console(width=140, file=page).print(terminal_table(comparison))
    return page.getvalue()


def test_rows_are_bases_times_techniques_in_one_family(task: Task) -> None:
    found = on_two(task)
    assert [(r.technique, r.plain_name, r.base) for r in found.results] == [
        ("zero-shot on fake:a", "zero-shot", "fake:a"),
        ("drawn on fake:a", "drawn", "fake:a"),
        ("zero-shot on fake:b", "zero-shot", "fake:b"),
        ("drawn on fake:b", "drawn", "fake:b"),
    ]
    assert {r.status for r in found.results} == {"finished"}
    # Everything is compared with the best of all, and with always the commonest label.
    assert len(found.tests) == len(found.results)
    assert {t.second for t in found.tests} == {found.verdict.best}
    assert found.result("drawn", "fake:b") is found.result("drawn on fake:b")
    with pytest.raises(KeyError, match="lora on fake:a"):
        found.result("lora", "fake:a")
    # Every fit of every base has the same budget, and each base counts in the plan.
    assert {p.budget_tokens for p in found.plan.techniques if p.footprint.tunes} == {750_000}
    assert set(found.plan.speeds) == {"fake:a", "fake:b"}
    assert found.plan.power is not None
    assert [base.short for base in found.bases] == ["fake:a", "fake:b"]


def test_the_report_groups_by_base_and_names_base_and_technique(task: Task, tmp_path: Path) -> None:
    found = on_two(task, "zero-shot", Drawn(shots=180), seeds=1)
    pick = found.result(found.verdict.pick or "")
    shown = table(found)
    lines = [line.split() for line in shown.splitlines()]
    heads = [lines.index(["fake:a"]), lines.index(["fake:b"])]
    assert heads[0] < heads[1]
    assert sum("drawn(shots=180)" in line for line in lines[heads[0] : heads[1]]) == 1
    assert f"Use {pick.plain_name} on {pick.base}" in shown or "does better" in shown
    assert "The best of each base: fake:a" in " ".join(shown.split())
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["model"] == "fake:a,fake:b"
    assert plain["models"] == ["fake:a", "fake:b"]
    assert [(r["technique"], r["base"]) for r in plain["rows"]] == [
        (r.plain_name, r.base) for r in found.results
    ]
    assert plain["verdict"]["pick"] == f"{pick.plain_name} on {pick.base}"
    assert (plain["verdict"]["technique"], plain["verdict"]["base"]) == (pick.plain_name, pick.base)
    page = write_html(found, tmp_path / "report.html").read_text("utf-8")
    assert "Base models <b>fake:a</b> and <b>fake:b</b>" in page
    assert page.count('<tr class="base">') == 2
    assert page.count("<h3>Base model fake:") == 2


def test_one_base_has_the_names_it_always_had(task: Task, tmp_path: Path) -> None:
    found = compare(task, ["fake"], techniques=["zero-shot"], budget=PLENTY)
    row = found.results[0]
    assert (row.technique, row.plain_name, row.base, row.slug) == (
        "zero-shot", "zero-shot", "fake", "zero-shot",
    )  # fmt: skip
    assert "The best of each base" not in found.verdict.because
    page = write_html(found, tmp_path / "report.html").read_text("utf-8")
    assert "Base model <b>fake</b>" in page
    assert '<tr class="base">' not in page


def test_the_same_call_again_fits_nothing_and_opens_nothing_for_runs(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = tmp_path / "diary"
    techniques = ("zero-shot", Drawn(diary=str(diary)))
    first = on_two(task, *techniques)
    fits = [line for line in diary.read_text().splitlines() if line.startswith("fitted")]
    assert len(fits) == 4
    opened: list[str] = []
    monkeypatch.setattr(
        FakeBackend,
        "open",
        classmethod(lambda cls, name, **_: opened.append(name) or cls(name=name)),
    )
    again = on_two(task, *techniques)
    assert opened == ["fake:a", "fake:b"]  # to know that they are the same as before
    assert again.id == first.id
    assert [r.score for r in again.results] == [r.score for r in first.results]
    assert len(diary.read_text().splitlines()) == 4 * 4 + 4
    assert Comparison.load(first.folder or "").verdict == first.verdict


def test_a_run_of_one_base_is_no_run_of_another(task: Task) -> None:
    found = on_two(task, "zero-shot")
    folders = {row.path for row in found.results}
    assert len(folders) == 2
    for row in found.results:
        assert row.path is not None
        model = luthier.load(row.path)
        assert model.backend.name == row.base
        assert luthier.evaluate(model, task).score.value == row.score.value
    with pytest.raises(UserError, match=r"on fake:a,fake:b, and this is one of toy on fake:a"):
        compare(task, "fake:a", techniques="zero-shot", out=found.folder)


def test_each_base_gets_the_techniques_that_suit_it() -> None:
    seen: list[str] = []

    def choose(model: Model) -> tuple[Any, ...]:
        seen.append(model.backend.name)
        return (Drawn(shots=len(seen)),)

    bases = open_bases(["fake:a", "fake:b"], choose)
    assert [base.techniques[0].shots for base in bases] == [1, 2]  # type: ignore[attr-defined]
    assert seen == ["fake:a", "fake:b"]


def test_one_named_base_is_open_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[FakeBackend]] = []

    def opened(name: str, **_: Any) -> FakeBackend:
        backend = FakeBackend(name=name)
        alive.append(weakref.ref(backend))
        return backend

    monkeypatch.setattr(FakeBackend, "open", staticmethod(opened))
    bases = open_bases(["fake:a", "fake:b"], lambda _: ())
    for name in ("fake:a", "fake:b", "fake:a"):
        assert bases.model(name).backend.name == name
        gc.collect()
        assert [ref().name for ref in alive if ref() is not None] == [name]  # type: ignore[union-attr]
    given = load("fake")
    with_open = open_bases([given, "fake:b"], lambda _: ())
    with_open.model("fake:b")
    assert with_open.model("fake") is given


def test_a_base_that_changes_on_the_way_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    bases = open_bases(["fake:a", "fake:b"], lambda _: ())
    monkeypatch.setattr(
        FakeBackend, "open", staticmethod(lambda name, **_: FakeBackend(name=f"{name}!"))
    )
    with pytest.raises(ModelError, match="fake:a has changed"):
        bases.model("fake:a")


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ("nano,nano", "nano is named twice"),
        (f"nano,{EMBEDDED['nano']}", "are the same base"),
        (["nano-reader", EMBEDDED["nano-reader"]], "are the same base"),
        ("nano,", "empty name"),
        ("", "empty name"),
        ([], "empty name"),
        ("nano,nano-raeder", "No model 'nano-raeder'"),
        (["nano", "nowhere/at/all"], "No model 'nowhere/at/all'"),
    ],
)
def test_wrong_lists_are_refused_before_weights_load(
    models: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("luthier.models.load")
    monkeypatch.setattr(module, "open_backend", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises((UserError, ModelError)) as told:
        compare(toy_task(), models, techniques="zero-shot")
    assert words in str(told.value)
    assert told.value.next_step


def test_a_name_nearly_right_is_suggested() -> None:
    with pytest.raises(ModelError) as told:
        parse_models("nano,nano-raeder")
    assert told.value.next_step == "Did you mean 'nano-reader'?"


def test_two_models_that_are_the_same_are_refused() -> None:
    with pytest.raises(UserError, match="fake and fake are the same base"):
        open_bases([load("fake"), load("fake")], lambda _: ())


def test_names_are_short_and_make_different_folders(tmp_path: Path) -> None:
    models = [Model(FakeBackend(name=name)) for name in ("a/base", "b/base", "c/Other", "d/other")]
    names = [base.name for base in open_bases(models, lambda _: ())]
    assert names == ["a/base", "b/base", "c/Other", "d/other"]
    served = [Model(FakeBackend(name=n)) for n in ("http://h:1/v1#small", "org/large", "x-y")]
    assert [base.name for base in open_bases(served, lambda _: ())] == ["small", "large", "x-y"]
    comma = tmp_path / "a,b"
    comma.mkdir()
    assert parse_models(str(comma)) == (str(comma),)


def test_costs_of_several_bases_are_compared_in_one_unit() -> None:
    cost = Cost(
        fit_tokens=1_000,
        fit_flops=4e9,
        fit_money=0.5,
        prompt_tokens=100,
        shared_prompt_tokens=50,
        request_flops=2e8,
        per_1k_requests=2.0,
        per_1k_requests_cached=1.0,
    )
    hours, tokens = Price(machine_hour=1.0), Price(input=1e-6)
    assert outlay_unit([hours]) == "tokens"
    assert outlay_unit([hours, hours]) == "FLOPs"
    assert outlay_unit([hours, tokens]) == outlay_unit([tokens]) == "money"
    assert outlay(cost, hours, unit="FLOPs") == Outlay(4e9, 2e8)
    assert outlay(cost, hours, cached=True, unit="FLOPs") == Outlay(4e9, 1e8)
    assert outlay(cost, hours, unit="money") == Outlay(0.5, 0.002)
    assert outlay(cost, hours, cached=True, unit="money") == Outlay(0.5, 0.001)
    assert outlay(cost, tokens, unit="money") == outlay(cost, tokens)
    assert outlay(Cost(prompt_tokens=5), hours, unit="FLOPs") is None
    assert outlay(Cost(prompt_tokens=5), hours, unit="money") is None


def test_the_command_takes_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"input": r["message"], "target": r["queue"]} for r in toy_rows()]
    Path("toy.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    Path("toy.yaml").write_text(TASK_FILE, "utf-8")
    words = "compare toy.yaml --model fake:a,fake:b --techniques zero-shot,few-shot --seeds 1"
    words += " --budget 900ktok --out run"
    assert command([*words.split(), "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert [row["base"] for row in found["rows"]] == ["fake:a"] * 2 + ["fake:b"] * 2
    assert "few-shot on fake:b" in printed.err  # the plan names each row
    assert (tmp_path / "run" / "few-shot-on-fake-b" / "luthier.yaml").is_file()
    assert command(["ask", "run/few-shot-on-fake-a", "where is my parcel"]) == 0
    assert capsys.readouterr().out.strip() in {"billing", "delivery", "account"}
    assert command(["ask", "run", "where is my parcel"]) == 0
    assert command(["compare", "toy.yaml", "--model", "fake:a,fake:a"]) == 2
    assert "fake:a is named twice" in capsys.readouterr().err


def test_the_time_limit_and_interruptions_name_the_rows(task: Task) -> None:
    found = on_two(task, Drawn(pause=0.05), options=Options(hard_cap_minutes=0.0))
    assert {r.status for r in found.results} == {"stopped"}
    assert "on fake:a and drawn(pause=0.05) on fake:b did not finish" in " ".join(
        found.verdict.next_steps
    )
