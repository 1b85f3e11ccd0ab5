"""After the choice: the pick once more, on train and dev together.

What was chosen on dev (a learning rate, a layer) is kept as a setting, and the budget grows with
the examples. Dev stays where training looks at it, but nothing is chosen there any more: its
examples have been learnt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.compare.comparison import Comparison
from luthier.compare.listener import Listener, RunProgress
from luthier.compare.plan import PlannedTechnique
from luthier.compare.running.perform_run import finished_run, perform_run, record_unscored
from luthier.compare.running.run_context import RunContext, RunRequest
from luthier.compare.running.run_keys import REFIT, refit_folder
from luthier.ledger.artifacts import copy_folder
from luthier.ledger.run_ledger import PlannedRun
from luthier.records import Budget
from luthier.safety.inside import inside, inside_by_name
from luthier.serialization import digest

if TYPE_CHECKING:
    from luthier.task.task import Task


def refit_pick(context: RunContext, comparison: Comparison, listener: Listener) -> None:
    """Fit the pick of a comparison on train and dev, score it, and keep it beside the others.

    Does nothing without a pick. A technique that cannot do without dev is recorded as skipped.
    """
    pick = comparison.verdict.pick
    if pick is None:
        return
    planned = next(p for p in comparison.plan.techniques if p.name == pick)
    chosen = comparison.result(pick).best
    if chosen is None:
        return
    technique = context.techniques[pick]
    settled = technique.settled(chosen.fit)
    run = context.planned_run(planned, chosen.seed)
    key = digest([run.key, REFIT, repr(settled)])
    request = RunRequest(
        planned=PlannedRun(context.comparison, key, pick, REFIT, "", chosen.seed),
        technique=technique if settled is None else settled,
        task=with_dev(context.task_without_test),
        model=context.bases.model(planned.base),
        budget=_larger(planned, context.task),
        base=planned.base,
    )
    context.ledger.add_planned_runs([request.planned])
    before = finished_run(context, key)
    if before is None and settled is None:
        reason = f"{pick} chooses on dev whenever it is fitted, and stays as it is"
        made = record_unscored(context, request, "skipped", reason)
    elif before is None:

        def progress(fraction: float, message: str) -> None:
            words = RunProgress(f"{pick}, on train and dev", chosen.seed, 1, 1, fraction, message)
            listener.progressed(words)

        made = perform_run(context, request, progress)
    else:
        made = before
    if made.path is not None:
        source = inside(context.folder, made.path, found_in="The ledger")
        folder = refit_folder(planned.slug)
        copy_folder(source, inside_by_name(context.folder, folder, found_in="The ledger"))
    listener.ended(f"{pick}, on train and dev", made, from_ledger=before is not None)


def with_dev(task: Task) -> Task:
    """The task with its dev examples among those to train on."""
    return replace(task, train=(*task.train, *task.dev))


def _larger(planned: PlannedTechnique, task: Task) -> Budget:
    """As much for each example as before."""
    if planned.budget_tokens is None:
        return Budget()
    whole = len(task.train) + len(task.dev)
    return Budget(tokens=planned.budget_tokens * whole // max(1, len(task.train)))
