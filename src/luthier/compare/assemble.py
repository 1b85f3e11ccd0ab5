"""From the ledger to the record of a comparison.

Nothing is measured or drawn at random here: the same ledger gives the same comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.compare.comparison import (
    BaseFacts,
    Comparison,
    CurvePoint,
    Run,
    TaskFacts,
    TechniqueResult,
)
from luthier.compare.costs import PriceBook, RequestTime, request_time
from luthier.compare.costs.prices import Price
from luthier.compare.plan import Plan, PlannedTechnique
from luthier.compare.references import reference_sentence, reference_tests
from luthier.compare.references.run_references import PURPOSE, REMOTE
from luthier.compare.running.run_keys import slug
from luthier.compare.technique_results import step_name, technique_result
from luthier.compare.verdict import Evidence, decide
from luthier.errors import StorageError, UserError
from luthier.ledger.provenance import Provenance
from luthier.ledger.run_ledger import LEDGER_FILE, Ledger, PlannedRun, StoredComparison
from luthier.records import Score
from luthier.serialization import loads

if TYPE_CHECKING:
    from luthier.scoring import ComparisonsWithBest

Runs = Sequence[tuple[PlannedRun, Run]]  # what was planned, and what became of it


def load_comparison(folder: Path) -> Comparison:
    """The comparison that was last started in a run folder; UserError when there is none."""
    path = folder / LEDGER_FILE
    if not path.is_file():
        raise UserError(
            f"{folder} holds no ledger of a comparison ({LEDGER_FILE})",
            next_step="Give the folder that luthier compare named at its end, for instance runs/….",
        )
    with Ledger(path) as ledger:
        comparisons = ledger.comparisons()
        if not comparisons:
            raise StorageError(
                f"The ledger in {folder} is empty", next_step="Run luthier compare --out with it."
            )
        return assemble(ledger, comparisons[-1], folder)


def assemble(ledger: Ledger, stored: StoredComparison, folder: Path) -> Comparison:
    """Results, tests and verdict from what the ledger holds now."""
    task = loads(TaskFacts, stored.task)
    model = loads(BaseFacts, stored.model)
    plan = loads(Plan, stored.plan)
    prices = loads(PriceBook, stored.prices)
    price = prices.of(model.name, remote=model.facts.remote)
    runs = [
        (planned_run, _run(ledger, planned_run)) for planned_run in ledger.planned_runs(stored.id)
    ]
    reading = {planned.name for planned in plan.techniques if not planned.footprint.passages}
    time = request_time(
        [run.cost for p, run in runs if p.technique in reading and p.purpose != "curve"]
    )
    results: list[TechniqueResult] = []
    for planned in plan.techniques:
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
        price,
        tolerance=plan.tolerance,
        optimism=with_best.optimism,
    )
    verdict = decide(evidence)
    shown = next((r for r in results if r.technique == (verdict.pick or verdict.best)), None)
    verdict = replace(verdict, reference=reference_sentence(references, against, shown))
    return Comparison(
        id=stored.id,
        task=task,
        model=model,
        plan=plan,
        results=tuple(results),
        verdict=verdict,
        tests=with_best.tests,
        curve=curve,
        prices=prices,
        provenance=loads(Provenance, stored.provenance),
        folder=str(folder),
        references=references,
        reference_tests=against,
    )


def _run(ledger: Ledger, planned_run: PlannedRun) -> Run:
    """A run as the ledger holds it; one that has not ended is "planned" or "stopped"."""
    stored = ledger.run(planned_run.key)
    if stored is not None and stored.result and stored.status not in ("running", "fitted"):
        return loads(Run, stored.result)
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


def _with_best(results: Sequence[TechniqueResult], *, commonest: bool) -> ComparisonsWithBest:
    """Each technique with a score against the best; steps of recipes are left out.

    What did not finish with all its seeds is no rival of what did.
    """
    from luthier.scoring import compare_with_best

    scored = [r for r in results if r.score.value is not None and r.part_of is None]
    rivals = [r for r in scored if r.status == "finished"] or scored
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
