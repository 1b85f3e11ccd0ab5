"""From the runs of one technique to its result over all seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from statistics import mean

from luthier.compare.comparison import OffTask, Run, TechniqueResult
from luthier.compare.costs import Cost, RequestTime, priced
from luthier.compare.costs.prices import Price
from luthier.compare.plan import PlannedTechnique, Status
from luthier.records import Budget, FitRecord, Score
from luthier.safety.inside import inside_by_name
from luthier.techniques.recipe import budget_after, step_budget


def technique_result(
    planned: PlannedTechnique,
    runs: Sequence[Run],
    folder: Path,
    price: Price,
    time: RequestTime | None = None,
) -> TechniqueResult:
    """Score, cost and status over `runs`, one for each seed. `folder` is the run folder.

    `time` is what a request takes by its tokens. A technique that looks passages up takes the time
    of that too, so that its own latency counts.
    """
    from luthier.scoring import aggregate_seeds
    from luthier.scoring.aggregate import parse_rate

    status, reason = _status(planned, runs)
    result = TechniqueResult(
        technique=planned.name,
        slug=planned.slug,
        family=planned.family,
        trained=planned.trained,
        seeded=planned.seeded,
        status=status,
        score=Score("", None),
        parse_rate=Score("parse-rate", None),
        runs=tuple(runs),
        settings=planned.settings,
        reason=reason,
        base=planned.base,
    )
    finished = [run for run in runs if run.status == "finished"]
    if not finished:
        return result
    readable = result.parse_rate
    if finished[0].parse_rate.value is not None:
        readable = parse_rate([run.sample_scores for run in finished])
    return replace(
        result,
        score=aggregate_seeds(finished),
        parse_rate=readable,
        cost=priced(
            _mean_cost([run.cost for run in finished]),
            price,
            None if planned.footprint.passages else time,
        ),
        off_task=_mean_off_task(finished),
        best_seed=best_seed(finished),
        epochs=_mean_passes([_passes(run.fit) for run in finished]),
        epochs_bought=_mean_passes([_bought(run.fit, planned.budget_tokens) for run in finished]),
        path=str(inside_by_name(folder, planned.slug, found_in="The plan in the ledger"))
        if planned.slug
        else None,
    )


def _mean_passes(passes: Sequence[float | None]) -> float | None:
    known = [each for each in passes if each is not None]
    return round(mean(known), 2) if known else None


def _passes(fit: FitRecord) -> float | None:
    """How often a fit saw the training examples; of the steps of a recipe, the fewest."""
    each = [part.fit for part in fit.parts] or [fit]
    return min((f.training.epochs for f in each if f.training is not None), default=None)


def _bought(fit: FitRecord, budget: int | None) -> float | None:
    """How often a fit could have seen the training examples with all of its budget."""
    left, found = Budget(tokens=budget), []
    each = [part.fit for part in fit.parts] or [fit]
    for place, part in enumerate(each):
        share = step_budget(left, place, len(each)).tokens
        left = budget_after(left, part)
        if part.training is None:
            continue
        unspent = 1.0
        if part.training.stopped_early and share and part.spent_tokens:
            unspent = max(1.0, share / part.spent_tokens)
        found.append(part.training.epochs * unspent)
    return min(found, default=None)


def best_seed(runs: Sequence[Run]) -> int | None:
    """The seed with the best dev score; the first that finished where dev was not scored."""
    finished = [run for run in runs if run.status == "finished"]
    scored = [(run.dev_score, -run.seed) for run in finished if run.dev_score is not None]
    if scored and len(scored) == len(finished):
        return -max(scored)[1]
    return finished[0].seed if finished else None


def step_name(recipe: str, part: str) -> str:
    """The name of an intermediate step of a recipe; `part` is "1 few-shot"."""
    number, _, technique = part.partition(" ")
    return f"{technique} (step {number} of {recipe})"


def _status(planned: PlannedTechnique, runs: Sequence[Run]) -> tuple[Status, str | None]:
    """The worst that happened to any seed, and its reason."""
    if planned.skip_reason is not None:
        return "skipped", planned.skip_reason
    done = sum(run.status == "finished" for run in runs)
    for status in ("failed", "skipped", "stopped", "planned"):
        worst = next((run for run in runs if run.status == status), None)
        if worst is not None:
            some = f"{done} of {len(runs)} seeds finished; seed {worst.seed}: " if done else ""
            return worst.status, f"{some}{worst.reason}"
    return ("finished", None) if runs else ("planned", "not run yet")


def _mean_cost(costs: Sequence[Cost]) -> Cost:
    """The mean of each field over the runs in which it was measured; the maximum for memory."""
    merged: dict[str, float | int | None] = {}
    for field in fields(Cost):
        values = [v for v in (getattr(cost, field.name) for cost in costs) if v is not None]
        if not values:
            merged[field.name] = None
        elif field.name == "peak_memory_bytes":
            merged[field.name] = max(values)
        elif field.name == "timed_requests":
            merged[field.name] = sum(values)
        elif field.name in ("trainable_parameters", "artifact_bytes"):
            merged[field.name] = round(mean(values))
        else:
            merged[field.name] = mean(values)
    return Cost(**merged)  # type: ignore[arg-type]


def _mean_off_task(runs: Sequence[Run]) -> OffTask | None:
    measured = [run.off_task for run in runs if run.off_task is not None]
    if not measured:
        return None
    before, after = mean(o.before for o in measured), mean(o.after for o in measured)
    return OffTask(before, after, measured[0].tokens)
