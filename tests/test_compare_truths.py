"""What a comparison says about itself: budgets, passes, uneven labels, dev scores, progress."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from luthier.cli.progress import TerminalListener
from luthier.compare.comparison import Comparison, Run, TechniqueResult
from luthier.compare.costs import Price
from luthier.compare.listener import RunProgress
from luthier.compare.plan import PlannedTechnique
from luthier.compare.technique_results import technique_result
from luthier.compare.verdict import decide
from luthier.records import FitRecord, Score, TrainingFacts
from luthier.report import terminal_table
from luthier.report.html import render_html
from luthier.report.metric_view import metric_view_of
from luthier.report.sections.facts import how_made
from luthier.report.sections.fits import fits
from luthier.report.sections.plots import interval_plot
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


def test_few_passes_are_no_trial_of_a_technique() -> None:
    lora = result("lora", 0.85, family="adapter", fit=1000, epochs=1.7)
    full = result("full", 0.9, family="weights", fit=1000, epochs=3.4)
    assert (lora.undertrained, full.undertrained) == (True, False)
    assert not result("few", 0.5).undertrained
    assert lora.to_json()["undertrained"] is True
    verdict = decide(evidence([full], enough="70ktok"))
    assert (verdict.untried, verdict.not_tried) == ((), "")
    verdict = decide(evidence([lora, full], enough="70ktok"))
    assert verdict.pick == "full"
    assert verdict.to_json()["untried"] == ["lora"]
    assert verdict.to_json()["enough"] == "70ktok"
    assert "Not tried: lora (1.7 passes, accuracy 0.850" in verdict.not_tried
    assert "before you decide" not in verdict.not_tried
    assert any("--budget 70ktok" in s and "lora" in s for s in verdict.next_steps)


def test_an_undertrained_technique_is_neither_picked_nor_the_best() -> None:
    ahead = result("lora", 0.9, family="adapter", fit=1, request=1, epochs=1.0)
    verdict = decide(evidence([ahead, result("few", 0.7), result("zero", 0.6)]))
    assert (verdict.pick, verdict.best, verdict.untried) == ("few", "few", ("lora",))
    assert "lora" not in verdict.tied_with
    assert "Try lora before you decide: even so few passes put it above few" in verdict.not_tried
    alone = decide(evidence([ahead]))
    assert (alone.pick, alone.best) == (None, "lora")
    assert alone.because == "No technique has been tried yet."
    assert "Not tried: lora (1.0 pass," in alone.not_tried


def test_what_ended_early_was_tried_where_its_budget_bought_enough() -> None:
    def lora(spent: int) -> TechniqueResult:
        facts = TrainingFacts(1e-3, (1e-3,), 10, 2, 2.0, 16, stopped_early=True)
        fit = FitRecord(spent_tokens=spent, training=facts)
        run = Run(0, "finished", Score("accuracy", 0.8), Score("parse-rate", 1.0), fit=fit)
        planned = PlannedTechnique("lora", "lora", "adapter", True, {}, (0,), 3000)
        return technique_result(planned, [run], Path("x"), Price())

    assert lora(2000).epochs == 2.0
    assert lora(2000).epochs_bought == 3.0
    assert not lora(2000).undertrained
    assert lora(2900).undertrained


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
    untried = tuple(r.technique for r in results if r.undertrained)
    verdict = replace(comparison.verdict, untried=untried, not_tried="Not tried: some.")
    trained = replace(comparison, results=results, verdict=verdict)
    assert "~ undertrained: not judged" in printed(trained)
    assert "Not tried: some." in printed(trained)
    assert "Not tried: some." in render_html(trained)
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


def test_one_unit_in_verdict_table_and_frontier(comparison: Comparison) -> None:
    def row(name: str, requests: float) -> TechniqueResult:
        made = result(name, 0.9, family="adapter", fit=2e6, request=requests)
        return replace(made, cost=replace(made.cost, artifact_bytes=1_500_000))

    made = evidence([row("lora", 100), row("prefix", 200)])
    verdict = decide(made)
    assert verdict.cost_unit == "tokens"
    assert made.total_cost(made.results[0]) == 2e6 + 1000 * 100
    assert "2.1 million tokens of compute (1.5 MB saved), against 2.2 for prefix" in verdict.because
    billed = replace(made, price=Price(input=1e-6, output=1e-6))
    assert decide(billed).cost_unit == "money"
    assert billed.total_cost(made.results[0]) == pytest.approx(2.1)
    page, table = render_html(comparison), printed(comparison)
    assert page.count("one fit and 10,000 requests") > 2
    assert "total: one fit and 10,000 requests" in table
    lora = next(line for line in table.splitlines() if line.startswith("►"))
    assert "M tok" in lora.replace("\u00a0", " ")


def test_references_stand_in_the_interval_chart(comparison: Comparison) -> None:
    reference = replace(comparison.results[0], technique="TF-IDF", family="reference")
    with_one = replace(comparison, references=(reference,))
    metric = metric_view_of(with_one)
    plot = interval_plot(with_one, technique_views(with_one), metric)
    bare = interval_plot(comparison, technique_views(comparison), metric)
    assert plot is not None
    assert bare is not None
    assert plot.wide.count("TF-IDF") > bare.wide.count("TF-IDF") == 0
    assert "no language model" in plot.caption
