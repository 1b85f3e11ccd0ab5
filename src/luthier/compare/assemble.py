"""From the ledger to the record of a comparison.

Nothing is measured or drawn at random here: the same ledger gives the same comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.compare.comparison import Comparison, CurvePoint, Refit, Run, TechniqueResult
from luthier.compare.costs import PriceBook, RequestTime, request_time, with_helpers
from luthier.compare.costs.prices import Price
from luthier.compare.judge_advice import judge_advice
from luthier.compare.parse_budget import budget_words
from luthier.compare.plan import UNDERTRAINED_BELOW, Plan, PlannedTechnique
from luthier.compare.references import reference_sentence, reference_tests
from luthier.compare.references.run_references import PURPOSE, REMOTE
from luthier.compare.running.run_keys import REFIT, refit_folder, slug
from luthier.compare.subject import TaskFacts, stored_bases
from luthier.compare.technique_results import step_name, technique_result
from luthier.compare.verdict import Evidence, decide, tried
from luthier.errors import StorageError, UserError
from luthier.ledger.provenance import Provenance
from luthier.ledger.row_reading import read_row
from luthier.ledger.run_ledger import LEDGER_FILE, Ledger, PlannedRun, StoredComparison
from luthier.records import Score

if TYPE_CHECKING:
    from luthier.scoring import ComparisonsWithBest

DAMAGED_RUN = (
    "The same luthier compare makes this run again; luthier report --salvage shows all the others."
)
Runs = Sequence[tuple[PlannedRun, Run]]  # what was planned, and what became of it


def load_comparison(folder: Path, *, salvage: bool = False) -> Comparison:
    """The comparison that was last started in a run folder; UserError when there is none.

    StorageError for a damaged row; with `salvage` the run of such a row counts as failed.
    """
    path = folder / LEDGER_FILE
    if not path.is_file():
        raise UserError(
            f"{folder} holds no ledger of a comparison ({LEDGER_FILE})",
            next_step="Give the folder that luthier compare named at its end, for instance runs/….",
        )
    with Ledger.to_read(path) as ledger:
        comparisons = ledger.comparisons()
        if not comparisons:
            raise StorageError(
                f"The ledger in {folder} is empty", next_step="Run luthier compare --out with it."
            )
        return assemble(ledger, comparisons[-1], folder, salvage=salvage)


def assemble(
    ledger: Ledger, stored: StoredComparison, folder: Path, *, salvage: bool = False
) -> Comparison:
    """Results, tests and verdict from what the ledger holds now."""
    row = f"comparison {stored.id}"
    task = read_row(TaskFacts, stored.task, row=f"{row}, task")
    bases = stored_bases(stored.model)
    plan = read_row(Plan, stored.plan, row=f"{row}, plan")
    prices = read_row(PriceBook, stored.prices, row=f"{row}, prices")
    base_prices = {base.short: prices.of(base.name, remote=base.facts.remote) for base in bases}
    first_price = next(iter(base_prices.values()))
    runs = [
        (planned_run, _run(ledger, planned_run, prices, salvage=salvage))
        for planned_run in ledger.planned_runs(stored.id)
    ]
    times = {base.short: _request_time(plan, runs, base.short) for base in bases}
    results: list[TechniqueResult] = []
    for planned in plan.techniques:
        price, time = base_prices.get(planned.base, first_price), times.get(planned.base)
        own = [(p, run) for p, run in runs if p.technique == planned.name]
        results += _step_results(planned, own, folder, price, time)
        whole = [run for p, run in own if p.purpose == "run"]
        results.append(technique_result(planned, whole, folder, price, time))
    metric = next((r.score.metric for r in results if r.score.metric), task.metric)
    task = replace(task, metric=metric)
    unscored = Score(metric, None)
    results = [r if r.score.metric else replace(r, score=unscored) for r in results]
    with_best = _with_best(results, commonest=task.chance is not None and metric == "accuracy")
    results = _with_pooled_seeds(results)
    results = [replace(r, bound=with_best.bounds.get(r.technique)) for r in results]
    references = _reference_results(runs, folder, prices)
    against = reference_tests(references, results)
    curve = _curve(runs)
    evidence = Evidence(
        task,
        tuple(results),
        with_best.tests,
        curve,
        prices,
        first_price,
        tolerance=plan.tolerance,
        optimism=with_best.optimism,
        base_prices=base_prices,
        enough=_enough(plan, results),
    )
    results = [replace(r, total_cost=evidence.total_cost(r)) for r in results]
    verdict = decide(evidence)
    shown = next((r for r in results if r.technique == (verdict.pick or verdict.best)), None)
    verdict = replace(verdict, reference=reference_sentence(references, against, shown))
    return Comparison(
        id=stored.id,
        task=task,
        bases=bases,
        plan=plan,
        results=tuple(results),
        verdict=verdict,
        tests=with_best.tests,
        curve=curve,
        prices=prices,
        provenance=read_row(Provenance, stored.provenance, row=f"{row}, provenance"),
        folder=str(folder),
        references=references,
        reference_tests=against,
        refit=_refit(plan, runs, verdict.pick, folder),
        advice_outcome=judge_advice(
            plan.advice, verdict, results, task=task.name,
            base=",".join(base.name for base in bases),
        ),
    )  # fmt: skip


def _request_time(plan: Plan, runs: Runs, base: str) -> RequestTime | None:
    """What a request takes on one base; techniques that look passages up do not count."""
    reading = {p.name for p in plan.techniques if p.base == base and not p.footprint.passages}
    return request_time(
        [run.cost for p, run in runs if p.technique in reading and p.purpose != "curve"]
    )


def _run(ledger: Ledger, planned_run: PlannedRun, prices: PriceBook, *, salvage: bool) -> Run:
    """A run as the ledger holds it, with what its helpers cost; one that has not ended is "planned"
    or "stopped"."""
    stored = ledger.run(planned_run.key)
    if stored is not None and stored.result and stored.status not in ("running", "fitted"):
        row = f"run {stored.key} ({stored.technique}, seed {stored.seed})"
        try:
            run = read_row(Run, stored.result, row=row, next_step=DAMAGED_RUN)
        except StorageError as error:
            if not salvage:
                raise
            lost = Score("", None)
            return Run(planned_run.seed, "failed", lost, lost, reason=error.problem)
        return replace(run, cost=with_helpers(run.cost, run.fit, prices))
    unscored = Score("", None)
    if stored is not None and stored.status == "fitted":
        reason = "fitted, and stopped before it was scored"
        return Run(planned_run.seed, "stopped", unscored, unscored, reason=reason)
    return Run(planned_run.seed, "planned", unscored, unscored, reason="not run yet")


def _step_results(
    planned: PlannedTechnique, runs: Runs, folder: Path, price: Price, time: RequestTime | None
) -> list[TechniqueResult]:
    """The results of the intermediate steps of a recipe."""
    results = []
    parts = [planned_run.part for planned_run, _ in runs if planned_run.purpose == "step"]
    for part in dict.fromkeys(parts):
        name = step_name(planned.name, part)
        step = replace(planned, name=name, slug=slug(name))
        own = [run for p, run in runs if p.purpose == "step" and p.part == part]
        result = technique_result(step, own, folder, price, time)
        results.append(replace(result, part_of=planned.name))
    return results


def _reference_results(runs: Runs, folder: Path, prices: PriceBook) -> tuple[TechniqueResult, ...]:
    """A row for each reference. It is paid for by the hour, unless a server has a part in it."""
    found = []
    for planned_run, run in runs:
        if planned_run.purpose != PURPOSE:
            continue
        name = planned_run.technique
        planned = PlannedTechnique(name, "", "reference", False, run.settings, (0,), None)
        remote = planned_run.part == REMOTE
        price = Price() if remote else Price(machine_hour=prices.machine_hour)
        result = technique_result(planned, [run], folder, price)
        found.append(replace(result, path=None))
    return tuple(found)


def _refit(plan: Plan, runs: Runs, pick: str | None, folder: Path) -> Refit | None:
    """The pick as it was fitted on train and dev; None where that was not asked for."""
    found = [run for p, run in runs if p.purpose == REFIT and p.technique == pick]
    if pick is None or not found:
        return None
    made = next((run for run in found if run.status == "finished"), found[-1])
    slugs = [planned.slug for planned in plan.techniques if planned.name == pick]
    path = None if made.path is None else str(folder / refit_folder(slugs[0]))
    return Refit(pick, made, path)


def _enough(plan: Plan, results: Sequence[TechniqueResult]) -> str | None:
    """The `--budget` with which every fit sees its training examples three times, as the plan
    reckoned it or, where fits saw them less often than planned, from what they saw."""
    tokens = plan.tuning_tokens
    bought = [r.epochs_bought for r in results if r.undertrained and r.epochs_bought]
    found = [plan.enough_tokens or 0]
    if tokens is not None and bought:
        found.append(ceil(tokens * UNDERTRAINED_BELOW / min(bought)))
    return budget_words(max(found)) if max(found) else None


def _with_best(results: Sequence[TechniqueResult], *, commonest: bool) -> ComparisonsWithBest:
    """Each technique that was tried against the best of them (see `verdict.evidence.tried`)."""
    from luthier.scoring import compare_with_best

    rivals = tried(results)
    return compare_with_best(
        {r.technique: _finished(r) for r in rivals},
        seeded={r.technique for r in rivals if r.seeded},
        commonest=commonest,
    )


def _with_pooled_seeds(results: Sequence[TechniqueResult]) -> list[TechniqueResult]:
    """The results with intervals that know the seed variance from all techniques together."""
    from luthier.scoring import aggregate_techniques

    scored = {r.technique: _finished(r) for r in results if r.score.value is not None}
    scores = aggregate_techniques(scored)
    return [replace(r, score=scores.get(r.technique, r.score)) for r in results]


def _finished(result: TechniqueResult) -> list[Run]:
    return [run for run in result.runs if run.status == "finished"]


def _curve(runs: Runs) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            technique=planned_run.technique,
            fraction=float(planned_run.part),
            train_examples=run.train_examples or 0,
            seed=planned_run.seed,
            score=run.score,
            fit_seconds=run.cost.fit_seconds,
        )
        for planned_run, run in runs
        if planned_run.purpose == "curve"
        and run.status == "finished"
        and run.score.value is not None
    )
