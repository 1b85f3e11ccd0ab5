"""From the ledger to the record of a comparison. Nothing is measured here and nothing is drawn
anew: the same ledger gives the same comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import mean

from luthier.compare.comparison import (
    BaseFacts,
    Comparison,
    CurvePoint,
    OffTask,
    Run,
    TaskFacts,
    TechniqueResult,
)
from luthier.compare.costs import Cost, PriceBook, priced
from luthier.compare.costs.prices import Price
from luthier.compare.plan import Plan, PlannedTechnique, Status
from luthier.compare.running.run_keys import slug
from luthier.compare.verdict import Evidence, decide
from luthier.errors import StorageError, UserError
from luthier.ledger.provenance import Provenance
from luthier.ledger.run_ledger import Ledger, PlannedRun, StoredComparison
from luthier.records import PairedTest, Score
from luthier.serialization import loads

LEDGER = "ledger.sqlite"


@dataclass(frozen=True, slots=True)
class _Found:
    """A member of the comparison, and what the ledger holds of it."""

    member: PlannedRun
    run: Run


def load_comparison(folder: Path) -> Comparison:
    """The comparison that was last started in a run folder; UserError when there is none."""
    path = folder / LEDGER
    if not path.is_file():
        raise UserError(
            f"{folder} holds no ledger of a comparison ({LEDGER})",
            next_step="Give the folder that luthier compare named at its end, for instance runs/….",
        )
    with Ledger(path) as store:
        rows = store.comparisons()
        if not rows:
            raise StorageError(
                f"The ledger in {folder} is empty", next_step="Run luthier compare --out with it."
            )
        return assemble(store, rows[-1], folder)


def assemble(store: Ledger, row: StoredComparison, folder: Path) -> Comparison:
    """Rows, tests and verdict from what is in the ledger now."""
    task = loads(TaskFacts, row.task)
    model = loads(BaseFacts, row.model)
    plan = loads(Plan, row.plan)
    book = loads(PriceBook, row.prices)
    price = book.of(model.name, remote=model.facts.remote)
    found = [_Found(m, _run_of(store, m)) for m in store.members(row.id)]
    rows: list[TechniqueResult] = []
    for line in plan.techniques:
        mine = [f for f in found if f.member.technique == line.name]
        rows += _steps(line, mine, folder, price)
        runs = [f.run for f in mine if f.member.purpose == "run"]
        rows.append(_row(line, runs, folder, price))
    metric = next((r.score.metric for r in rows if r.score.metric), task.metric)
    task = replace(task, metric=metric)
    unscored = Score(metric, None)
    rows = [row if row.score.metric else replace(row, score=unscored) for row in rows]
    tests = _tests(rows)
    curve = tuple(_point(f) for f in found if f.member.purpose == "curve" and _is_scored(f.run))
    evidence = Evidence(task, tuple(rows), tests, curve, book, price)
    return Comparison(
        id=row.id,
        task=task,
        model=model,
        plan=plan,
        rows=tuple(rows),
        verdict=decide(evidence),
        tests=tests,
        curve=curve,
        prices=book,
        provenance=loads(Provenance, row.provenance),
        folder=str(folder),
    )


def best_seed(runs: Sequence[Run]) -> int | None:
    """The seed with the best dev score; the first that finished where dev was not scored."""
    finished = [run for run in runs if run.status == "finished"]
    scored = [(run.dev_score, -run.seed) for run in finished if run.dev_score is not None]
    if scored and len(scored) == len(finished):
        return -max(scored)[1]
    return finished[0].seed if finished else None


def step_name(recipe: str, part: str) -> str:
    """How the intermediate of a recipe is called; `part` is "1 few-shot"."""
    number, _, technique = part.partition(" ")
    return f"{technique} (step {number} of {recipe})"


def _run_of(store: Ledger, member: PlannedRun) -> Run:
    row = store.run(member.key)
    if row is not None and row.result and row.status not in ("running", "fitted"):
        return loads(Run, row.result)
    nothing = Score("", None)
    if row is not None and row.status == "fitted":
        reason = "fitted, and stopped before it was scored"
        return Run(member.seed, "stopped", nothing, nothing, reason=reason)
    return Run(member.seed, "planned", nothing, nothing, reason="not run yet")


def _steps(
    line: PlannedTechnique, found: Sequence[_Found], folder: Path, price: Price
) -> list[TechniqueResult]:
    rows = []
    parts = [f.member.part for f in found if f.member.purpose == "step"]
    for part in dict.fromkeys(parts):
        name = step_name(line.name, part)
        runs = [f.run for f in found if f.member.part == part and f.member.purpose == "step"]
        step = replace(line, name=name, slug=slug(name))
        rows.append(replace(_row(step, runs, folder, price), part_of=line.name))
    return rows


def _row(
    line: PlannedTechnique, runs: Sequence[Run], folder: Path, price: Price
) -> TechniqueResult:
    from luthier.scoring import aggregate_seeds
    from luthier.scoring.aggregate import parse_rate

    finished = [run for run in runs if run.status == "finished"]
    status, reason = _status(line, runs)
    row = TechniqueResult(
        technique=line.name,
        slug=line.slug,
        family=line.family,
        trained=line.trained,
        status=status,
        score=Score("", None),
        parse_rate=Score("parse-rate", None),
        seeds=tuple(runs),
        settings=line.settings,
        reason=reason,
    )
    if not finished:
        return row
    readable = finished[0].parse_rate.value is not None
    chosen = best_seed(finished)
    return replace(
        row,
        score=aggregate_seeds(finished),
        parse_rate=parse_rate([r.sample_scores for r in finished]) if readable else row.parse_rate,
        cost=priced(_mean_cost([run.cost for run in finished]), price),
        off_task=_mean_off_task(finished),
        best_seed=chosen,
        path=str(folder / line.slug),
    )


def _status(line: PlannedTechnique, runs: Sequence[Run]) -> tuple[Status, str | None]:
    """The worst that happened to any seed, and its reason."""
    if line.skip_reason is not None:
        return "skipped", line.skip_reason
    done = sum(run.status == "finished" for run in runs)
    for status in ("failed", "skipped", "stopped", "planned"):
        hit = next((run for run in runs if run.status == status), None)
        if hit is not None:
            some = f"{done} of {len(runs)} seeds finished; seed {hit.seed}: " if done else ""
            return hit.status, f"{some}{hit.reason}"
    return ("finished", None) if runs else ("planned", "not run yet")


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    """Field by field the mean of what was measured; the maximum for memory."""
    merged: dict[str, float | int | None] = {}
    for each in fields(Cost):
        values = [v for v in (getattr(c, each.name) for c in costs) if v is not None]
        if not values:
            merged[each.name] = None
        elif each.name == "peak_memory_bytes":
            merged[each.name] = max(values)
        elif each.name in ("trainable_parameters", "artifact_bytes"):
            merged[each.name] = round(mean(values))
        else:
            merged[each.name] = mean(values)
    return Cost(**merged)  # type: ignore[arg-type]


def _mean_off_task(runs: Sequence[Run]) -> OffTask | None:
    seen = [run.off_task for run in runs if run.off_task is not None]
    if not seen:
        return None
    before, after = mean(o.before for o in seen), mean(o.after for o in seen)
    return OffTask(before, after, seen[0].tokens)


def _tests(rows: Sequence[TechniqueResult]) -> tuple[PairedTest, ...]:
    from luthier.scoring import paired_tests

    results = {
        row.technique: [run for run in row.seeds if run.status == "finished"]
        for row in rows
        if row.score.value is not None and row.part_of is None
    }
    return paired_tests(results)


def _is_scored(run: Run) -> bool:
    return run.status == "finished" and run.score.value is not None


def _point(found: _Found) -> CurvePoint:
    return CurvePoint(
        technique=found.member.technique,
        fraction=float(found.member.part),
        train_examples=found.run.train_examples or 0,
        seed=found.member.seed,
        score=found.run.score,
        fit_seconds=found.run.cost.fit_seconds,
    )
