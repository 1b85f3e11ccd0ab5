"""`compare`: techniques on one task, one base and one budget, and a verdict.

It can be killed at any moment; the same call again goes on where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.compare.assemble import assemble
from luthier.compare.comparison import Comparison, Run
from luthier.compare.costs import read_prices
from luthier.compare.make_advice import make_advice
from luthier.compare.make_plan import hard_cap, make_plan
from luthier.compare.options import Options
from luthier.compare.parse_budget import parse_budget
from luthier.compare.plan import Plan
from luthier.compare.references import run_references, suited_references
from luthier.compare.references.plain_reference import PlainReference
from luthier.compare.references.run_references import PURPOSE, ReferenceRuns
from luthier.compare.request import ComparisonRequest, default_techniques, resolve_techniques
from luthier.compare.run_folder import COMPARISON_FILE, check_folder
from luthier.compare.running.refit import refit_pick
from luthier.compare.running.run_context import RunContext
from luthier.compare.running.run_loop import RunLoop, planned_runs
from luthier.compare.subject import TaskFacts
from luthier.errors import InterruptedRun, TechniqueError
from luthier.ledger.artifacts import Artifacts, write_text
from luthier.ledger.lock import folder_lock
from luthier.ledger.provenance import now, provenance
from luthier.ledger.row_reading import read_row
from luthier.ledger.run_ledger import LEDGER_FILE, Launch, Ledger, StoredComparison
from luthier.records import Budget
from luthier.serialization import dumps
from luthier.task.document_leaks import document_leaks

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.task.task import Task
    from luthier.techniques.base import Technique


def compare(
    task: str | Path | Task,
    model: str | Path | Model | Sequence[str | Path | Model] = "nano",
    *,
    techniques: str | Sequence[str | Technique] | None = None,
    budget: str | Budget | None = None,
    seeds: int = 3,
    out: str | Path | None = None,
    options: Options | None = None,
) -> Comparison:
    """Fit and score every technique on the same examples with the same budget, and decide.

    **Arguments**

    - `task`: a name or a file, or an opened one.
    - `model`: a name, a folder or an opened model; several of them ("nano,nano-reader", or a
      sequence) are compared in one table, each with every technique.
    - `techniques`: names with settings ("lora(rank=4)"), recipes ("few-shot -> lora") or objects;
      by default one of each family, retrieval among them where the task names documents.
    - `budget`: "20m", "5Mtok" or a `Budget` for the whole comparison, shared out equally. By
      default every fit gets what sees the training examples three times; where all of that would
      take more than an hour, there are 10 minutes for everything.
    - `seeds`: how many seeds each technique gets whose fit depends on one; the others get one.
    - `out`: the run folder; by default `runs/<task>-<model>-<hash>`. The same call again goes on
      where the last one stopped.
    - `options`: the less common settings.

    Raises a UserError for anything wrong with the request, where possible before weights load;
    StorageError when the disk fails; InterruptedRun on Ctrl-C, after which finished runs are kept.
    A technique that fails does not raise: its result has the status "failed" and the reason.
    """
    from luthier.compare.open_bases import open_bases, parse_models
    from luthier.task.task import Task

    options = options or Options()
    parsed_budget = parse_budget(budget)
    if seeds < 1:
        raise TechniqueError(f"seeds={seeds} fits nothing", next_step="Give 1 or more.")
    resolved = None if techniques is None else resolve_techniques(techniques)
    named = parse_models(model)
    task = Task.load(task) if isinstance(task, (str, Path)) else task
    if out is not None:
        check_folder(Path(out), task.name)
    prices = read_prices(options.prices or task.price_book)
    references: tuple[PlainReference, ...] = ()
    if options.references:
        references = suited_references(task, options.embedder, setfit=options.setfit)
    opened_task = task

    def choose(opened: Model) -> tuple[Technique, ...]:
        return resolved or resolve_techniques(default_techniques(opened_task, opened))

    bases = open_bases(named, choose)
    request = ComparisonRequest(task, bases, parsed_budget, seeds, options, prices)
    folder = Path(out) if out is not None else Path("runs") / request.folder_name
    check_folder(folder, task.name, request.models)
    with folder_lock(folder), Ledger(folder / LEDGER_FILE) as ledger:
        return _run(request, folder, ledger, references=references)


def _run(
    request: ComparisonRequest, folder: Path, ledger: Ledger, *,
    references: Sequence[PlainReference],
) -> Comparison:  # fmt: skip
    """Make or continue the comparison in its folder."""
    options = request.options
    wants_advice = options.advise and not _has_begun(ledger, request.id)
    stored, plan = _start(request, ledger)
    if wants_advice and not plan.billed:
        stored, plan = _advised(request, ledger, stored, plan)
    options.listener.planned(plan, folder)  # it may ask before money is spent
    if wants_advice and plan.billed:
        stored, plan = _advised(request, ledger, stored, plan)
    context = RunContext(
        ledger=ledger,
        folder=folder,
        comparison=stored.id,
        task=request.task,
        bases=request.bases,
        techniques=dict(
            zip(
                [planned.name for planned in plan.techniques],
                [technique for base in request.bases for technique in base.techniques],
                strict=True,
            )
        ),
        limit=plan.limit,
        time_limit_seconds=plan.hard_cap_seconds,
    )
    ledger.add_planned_runs(planned_runs(context, plan.to_run, options.curve))
    write_text(folder / "plan.json", dumps(plan))
    if request.task.transcripts is not None:
        lines = [dumps(recording) for recording in request.task.transcripts.recordings]
        write_text(folder / "transcripts.jsonl", "\n".join([*lines, ""]))
    if not options.plan_only:
        Artifacts(folder / "artifacts").sweep()
        loop = RunLoop(context, plan.to_run, options.listener, options.curve)
        shared = ReferenceRuns(ledger, stored.id, request.task, plan.limit)
        try:
            run_references(shared, references, _reference_listener(options))
            loop.context = context.with_deadline()  # references take nothing of the budget
            loop.run()
            if options.refit:
                refit_pick(
                    context.with_deadline(), assemble(ledger, stored, folder), options.listener
                )
        except KeyboardInterrupt as stop:
            progress = f"{loop.done} of {loop.runs} runs" if loop.runs else "references"
            ledger.add_event("interrupted", progress, comparison=stored.id)
            raise InterruptedRun(
                f"Stopped; {progress} are finished and kept in {folder}",
                next_step="Run the same command again to go on where it stopped.",
            ) from stop
    comparison = assemble(ledger, stored, folder)
    write_text(folder / COMPARISON_FILE, dumps(comparison))
    # After the file: whoever finds the end in the ledger may read the file in its place.
    if not any(result.status in ("planned", "stopped") for result in comparison.results):
        ledger.end_comparison(stored.id)
    if comparison.advice_outcome is not None:
        ledger.keep_advice_outcome(stored.id, dumps(comparison.advice_outcome))
    return comparison


def _reference_listener(options: Options) -> Callable[[str, Run, bool], None]:
    def on_end(name: str, run: Run, from_ledger: bool) -> None:
        options.listener.ended(name, run, from_ledger=from_ledger)

    return on_end


def _start(request: ComparisonRequest, ledger: Ledger) -> tuple[StoredComparison, Plan]:
    """The comparison in the ledger, with the plan it had before or a new one."""
    before = ledger.comparison(request.id)
    if before is None:
        plan = make_plan(request)
    else:
        # The budgets are those of the first start; time limit and tolerance those of this call.
        plan = read_row(Plan, before.plan, row=f"comparison {before.id}, plan")
        cap = hard_cap(Budget(plan.budget_tokens, plan.budget_minutes), request.options)
        plan = replace(plan, hard_cap_seconds=cap, tolerance=request.options.tolerance)
    facts, time = tuple(base.facts for base in request.bases), now()
    stored = StoredComparison(
        id=request.id,
        created=time,
        touched=time,
        finished=None,
        task=dumps(_task_facts(request.task, plan.limit)) if before is None else before.task,
        model=dumps(facts),
        plan=dumps(plan),
        prices=dumps(request.prices),
        provenance=dumps(provenance(precision=facts[0].precision)),
    )
    ledger.start_comparison(stored)
    ledger.save_launch(
        Launch(
            stored.id, time, request.task.file, str(Path.cwd()), arguments=request.options.arguments
        )
    )
    return ledger.comparison(stored.id) or stored, plan


def _advised(
    request: ComparisonRequest, ledger: Ledger, stored: StoredComparison, plan: Plan
) -> tuple[StoredComparison, Plan]:
    """The comparison with an advice in its plan, in the ledger too; the one it has stays."""
    if plan.advice is not None:
        return stored, plan
    plan = replace(plan, advice=make_advice(request, plan))
    stored = replace(stored, plan=dumps(plan))
    ledger.start_comparison(stored)
    return stored, plan


def _has_begun(ledger: Ledger, comparison: str) -> bool:
    """Whether anything was fitted: an advice comes before that or not at all."""
    planned = ledger.planned_runs(comparison)
    return any(run.purpose != PURPOSE and ledger.run(run.key) is not None for run in planned)


def _task_facts(task: Task, limit: int | None) -> TaskFacts:
    """What the record of a comparison says of its task."""
    from luthier.scoring import scorer_for

    count = task.test_count if limit is None else min(limit, task.test_count)
    targets = Counter(example.target for example in task.test)
    in_documents = document_leaks(task)
    warning = None if in_documents is None else in_documents.sentence()
    chance = targets.most_common(1)[0][1] / len(task.test) if task.labels and targets else None
    return TaskFacts(
        name=task.name,
        kind=str(task.kind),
        fingerprint=task.fingerprint,
        instruction=task.instruction,
        labels=task.labels,
        metric=scorer_for(task).metric,
        train_examples=len(task.train),
        dev_examples=len(task.dev),
        test_examples=count,
        chance=chance,
        leaks={
            **task.leaks.as_dict(),
            "documents": None if in_documents is None else asdict(in_documents),
        },
        notes=task.notes if warning is None else (*task.notes, warning),
        input_column=task.spec.input,
        passage_column=task.spec.passage,
        transcripts=task.transcripts,
    )
