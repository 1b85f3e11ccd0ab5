"""What a comparison says about itself: budgets, passes, uneven labels, dev scores, progress."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from luthier.cli.progress import TerminalListener
from luthier.compare.comparison import Comparison, Run
from luthier.compare.listener import RunProgress
from luthier.compare.plan import PlannedTechnique
from luthier.compare.verdict import decide
from luthier.records import FitRecord, Score
from luthier.report import terminal_table
from luthier.report.html import render_html
from luthier.report.metric_view import metric_view_of
from luthier.report.sections.facts import how_made
from luthier.report.sections.fits import fits
from luthier.report.technique_view import technique_views
from tests.report_example import example_comparison
from tests.test_compare_verdict import evidence, result


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return example_comparison()


def printed(comparison: Comparison, width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as said:
        console.print(terminal_table(comparison))
    return said.get()


def test_few_passes_are_said_to_be_too_little_budget() -> None:
    lora = result("lora", 0.6, family="adapter", fit=1000, epochs=1.7)
    full = result("full", 0.9, family="weights", fit=1000, epochs=3.4)
    assert lora.undertrained is not None
    assert full.undertrained is None
    assert result("few", 0.5).undertrained is None
    assert lora.to_json()["undertrained"] is True
    (said,) = [s for s in decide(evidence([lora, full])).next_steps if "Undertrained" in s]
    assert "lora (1.7)" in said
    assert "full" not in said


def test_a_search_that_finds_and_a_reader_that_does_not() -> None:
    def rag(score: float, recall: float) -> tuple[str, ...]:
        run = Run(0, "finished", Score("accuracy", score), Score("parse-rate", 1.0),
                  secondary=(Score("recall@5", recall),))  # fmt: skip
        made = result("rag", score, family="retrieval", fit=5, runs=(run,))
        return decide(evidence([made, result("zero", 0.02)])).next_steps

    (said,) = [s for s in rag(0.01, 1.0) if "reader fails" in s]
    assert "100 % of the questions" in said
    assert not [s for s in rag(0.01, 0.1) if "reader fails" in s], "the search fails too"
    assert not [s for s in rag(0.8, 1.0) if "reader fails" in s], "the reader reads"


def test_a_tuned_prompt_below_the_untuned_one_is_remarked() -> None:
    worse = [result("zero", 0.7), result("few", 0.6, fit=900), result("search", 0.8, fit=900)]
    (said,) = [s for s in decide(evidence(worse)).next_steps if "not tuned at all" in s]
    assert said.startswith("few (0.600) scored no better than zero (0.700)")
    better = [result("zero", 0.5), result("few", 0.6, fit=900)]
    assert not [s for s in decide(evidence(better)).next_steps if "not tuned at all" in s]


def test_the_budget_of_a_fit_is_not_that_of_all(comparison: Comparison) -> None:
    planned = [
        PlannedTechnique(name, name, "adapter", True, {}, (0, 1, 2), 81_000)
        for name in ("lora", "full")
    ]
    plan = replace(
        comparison.plan, techniques=tuple(planned), budget_tokens=490_000, budget_minutes=None
    )
    told = how_made(replace(comparison, plan=plan), metric_view_of(comparison))
    (said,) = [s for s in told if "same tuning budget" in s]
    assert "81 k forward-token equivalents, of 490 k for 6 fits" in said.replace("\u00a0", " ")


def test_macro_f1_stands_in_the_table_where_labels_are_uneven(comparison: Comparison) -> None:
    runs = tuple(
        replace(run, secondary=(Score("macro-f1", 0.321),)) for run in comparison.results[0].runs
    )
    first = replace(comparison.results[0], runs=runs)
    uneven = replace(
        comparison, task=replace(comparison.task, chance=0.9),
        results=(first, *comparison.results[1:]),
    )  # fmt: skip
    row = next(line for line in printed(uneven).splitlines() if first.technique in line)
    assert "0.321" in row
    even = replace(uneven, task=replace(uneven.task, chance=1 / len(uneven.task.labels)))
    assert "macro-F1" not in printed(even)


def test_passes_stand_in_the_table_and_in_the_report(comparison: Comparison) -> None:
    assert "passes" not in printed(comparison)
    results = tuple(replace(r, epochs=1.7 if r.trained else None) for r in comparison.results)
    trained = replace(comparison, results=results)
    assert "passes" in printed(trained)
    page = render_html(trained)
    assert "passes over the examples" in page
    assert ">undertrained<" in page
    assert ">undertrained<" not in render_html(comparison)


def test_a_dev_score_is_named_for_what_it_is(comparison: Comparison) -> None:
    view = metric_view_of(comparison)
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for one in fits(technique_views(comparison), view):
        runs = one.view.result.runs
        is_recipe = any(run.fit.parts for run in runs)
        trained = any(run.fit != FitRecord() and run.fit.training for run in runs)
        if not is_recipe:
            names[bool(trained)] |= {f.name for f in one.facts if f.name.startswith("dev")}
    assert "dev score that training watches" in names[True]
    assert "dev accuracy" not in names[True]
    assert "dev accuracy" in names[False]
    assert "dev score that training watches" not in names[False]


def test_progress_is_printed_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("luthier.cli.progress.time.monotonic", lambda: clock[0])
    console = Console(width=200, force_terminal=False)
    with console.capture() as said, TerminalListener(console) as listener:
        for second in range(50):
            clock[0] = float(second)
            listener.progressed(RunProgress("lora", 1, 3, 11, second / 50, "loss 1.20", 90.0))
    lines = said.get().splitlines()
    assert len(lines) == 2, "one in 20 seconds"
    assert lines[0] == "run 3 of 11, lora, seed 1: 40 %, loss 1.20; 90 s left"
