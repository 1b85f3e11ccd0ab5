"""`compare`: techniques on one task, one base, one budget, and a verdict. Resumable at any
moment."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.compare.assemble import LEDGER, assemble
from luthier.compare.comparison import BaseFacts, Comparison, TaskFacts
from luthier.compare.costs import PriceBook, read_prices
from luthier.compare.options import Options, parse_budget
from luthier.compare.plan import Plan
from luthier.compare.planning import hard_cap, make_plan
from luthier.compare.run_folder import check_folder
from luthier.compare.running.run_context import RunContext
from luthier.compare.running.run_keys import digest, model_identity, slug, technique_identity
from luthier.compare.running.run_loop import RunLoop, planned_runs
from luthier.errors import InterruptedRun, TechniqueError
from luthier.ledger.artifacts import Artifacts, write_text
from luthier.ledger.lock import folder_lock
from luthier.ledger.provenance import luthier_version, now, provenance
from luthier.ledger.run_ledger import Ledger, StoredComparison
from luthier.records import Budget
from luthier.serialization import dumps, loads

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.task.task import Task
    from luthier.techniques.base import Technique

DEFAULT_TECHNIQUES = ("zero-shot", "few-shot", "prompt-search", "prefix", "lora", "full")
# Beside those where the task names documents.
WITH_KNOWLEDGE = ("rag", "rag -> few-shot", "lora -> rag")


def compare(
    task: str | Path | Task,
    model: str | Path | Model = "nano",
    *,
    techniques: str | Sequence[str | Technique] | None = None,
    budget: str | Budget | None = None,
    seeds: int = 3,
    out: str | Path | None = None,
    options: Options | None = None,
) -> Comparison:
    """Fit and score every technique on the same examples with the same budget, and judge.

    `techniques` are names with settings ("lora(rank=4)"), recipes ("few-shot -> lora") or objects;
    by default one of each family, retrieval among them where the task names documents.
    `budget` ("20m", "5Mtok" or a `Budget`; 10 minutes unless given) is for everything together and
    is shared out equally. Trained techniques get `seeds` seeds, others one. `out` is the run
    folder, `runs/<task>-<model>-<hash>` unless given; the same call again goes on where the last
    stopped.

    Raises a UserError for anything that is wrong with what was asked, before weights load where it
    shows by then; StorageError when the disk fails; InterruptedRun on Ctrl-C, with what is finished
    kept. A technique that fails is a row that says why.
    """
    from luthier.models.load import load
    from luthier.task.task import Task

    options = options or Options()
    parsed = parse_budget(budget)
    if seeds < 1:
        raise TechniqueError(f"seeds={seeds} fits nothing", next_step="Give 1 or more.")
    chosen = None if techniques is None else chosen_techniques(techniques)
    opened = Task.load(task) if isinstance(task, (str, Path)) else task
    if out is not None:
        check_folder(Path(out), opened.name)
    book = read_prices(options.prices or opened.price_book)
    base = load(model) if isinstance(model, (str, Path)) else model
    if chosen is None:
        chosen = chosen_techniques(default_techniques(opened, base))
    question = ComparisonRequest(opened, base, chosen, parsed, seeds, options, book)
    folder = Path(out) if out is not None else Path("runs") / question.folder_name
    check_folder(folder, opened.name, question.model.backend.name)
    with folder_lock(folder), Ledger(folder / LEDGER) as store:
        return _carry_out(question, folder, store)


def default_techniques(task: Task, model: Model | None = None) -> tuple[str, ...]:
    """What is compared where nothing else is said; for a base that cannot carry a prefix the soft
    prompt stands in for it."""
    names = (*DEFAULT_TECHNIQUES, *(WITH_KNOWLEDGE if task.knowledge else ()))
    if model is None or not model.backend.facts.encoder_decoder:
        return names
    return tuple("soft-prompt" if name == "prefix" else name for name in names)


def chosen_techniques(techniques: str | Sequence[str | Technique]) -> tuple[Technique, ...]:
    """The techniques behind names; TechniqueError, with what was meant, for an unknown one."""
    from luthier import registry
    from luthier.techniques.spelling import parse_technique, parse_techniques

    if isinstance(techniques, str):
        found = parse_techniques(techniques)
    else:
        found = tuple(parse_technique(t) if isinstance(t, str) else t for t in techniques)
    if not found:
        raise TechniqueError(
            "No technique was given",
            choices=registry.names("techniques"),
            next_step="Name at least one.",
        )
    # The same technique twice is the same run: it stands in the table once.
    return tuple({digest(technique_identity(t)): t for t in found}.values())


@dataclass(frozen=True)
class ComparisonRequest:
    """What was asked, opened and checked."""

    task: Task
    model: Model
    techniques: tuple[Technique, ...]
    budget: Budget
    seeds: int
    options: Options
    book: PriceBook

    @property
    def id(self) -> str:
        """The same for the same question. Prices, curves and the clock are no part of it."""
        asked = {
            "luthier": luthier_version(),
            "task": self.task.fingerprint,
            "model": model_identity(self.model),
            "techniques": [technique_identity(t) for t in self.techniques],
            "budget": [self.budget.tokens, self.budget.minutes],
            "seeds": self.seeds,
            "seed": self.options.seed,
            "limit": self.options.limit,
        }
        return digest(asked)[:16]

    @property
    def folder_name(self) -> str:
        """`<task>-<model>-<hash>`, short enough for any file system."""
        model = re.sub(r"^https?://", "", self.model.backend.name).rstrip("/").split("/")[-1]
        return f"{slug(self.task.name)[:40]}-{slug(model)[:40]}-{self.id[:8]}"

    def plan(self) -> Plan:
        """A new plan. BudgetError where the budget is too small for anything."""
        return make_plan(
            self.task,
            self.model,
            self.techniques,
            budget=self.budget,
            seeds=self.seeds,
            options=self.options,
            book=self.book,
        )


def task_facts(task: Task, limit: int | None) -> TaskFacts:
    """What the record keeps of a task."""
    scorer = task.scorer if isinstance(task.scorer, str) else task.scorer.__name__
    count = task.test_count if limit is None else min(limit, task.test_count)
    targets = Counter(example.target for example in task.test)
    chance = targets.most_common(1)[0][1] / len(task.test) if task.labels and targets else None
    return TaskFacts(
        name=task.name,
        kind=str(task.kind),
        fingerprint=task.fingerprint,
        instruction=task.instruction,
        labels=task.labels,
        metric=scorer,
        train_examples=len(task.train),
        dev_examples=len(task.dev),
        test_examples=count,
        chance=chance,
        leaks=task.leaks.as_dict(),
        notes=task.notes,
    )


def _carry_out(question: ComparisonRequest, folder: Path, store: Ledger) -> Comparison:
    options = question.options
    row, plan = _opened(question, store)
    options.listener.planned(plan, folder)
    context = RunContext(
        store=store,
        folder=folder,
        comparison=row.id,
        task=question.task,
        model=question.model,
        identity=model_identity(question.model),
        limit=plan.limit,
        seconds=plan.hard_cap_seconds,
    )
    pairs = zip(plan.techniques, question.techniques, strict=True)
    planned_techniques = [
        (planned, technique) for planned, technique in pairs if planned.skip_reason is None
    ]
    store.enrol(planned_runs(context, planned_techniques, options.curve))
    write_text(folder / "plan.json", dumps(plan))
    if not options.plan_only:
        Artifacts(folder / "artifacts").sweep()
        loop = RunLoop(context.again(), planned_techniques, options.listener, options.curve)
        try:
            loop.run()
        except KeyboardInterrupt as stop:
            store.note("interrupted", f"{loop.done} of {loop.runs} runs", comparison=row.id)
            raise InterruptedRun(
                f"Stopped; {loop.done} of {loop.runs} runs are finished and kept in {folder}",
                next_step="Run the same command again to go on where it stopped.",
            ) from stop
    comparison = assemble(store, row, folder)
    if not any(r.status in ("planned", "stopped") for r in comparison.rows):
        store.end_comparison(row.id)
    write_text(folder / "comparison.json", dumps(comparison))
    return comparison


def _opened(question: ComparisonRequest, store: Ledger) -> tuple[StoredComparison, Plan]:
    """The comparison's row in the ledger, with the plan it had before, or a new one."""
    before = store.comparison(question.id)
    if before is None:
        plan = question.plan()
    else:
        # The budgets are those of the first start; the time limit is today's.
        cap = hard_cap(question.budget, question.options)
        plan = replace(loads(Plan, before.plan), hard_cap_seconds=cap)
    backend, time_now = question.model.backend, now()
    facts = BaseFacts(
        backend.name, backend.fingerprint, backend.facts, tuple(sorted(backend.capabilities))
    )
    row = StoredComparison(
        id=question.id,
        created=time_now,
        touched=time_now,
        finished=None,
        task=dumps(task_facts(question.task, plan.limit)),
        model=dumps(facts),
        plan=dumps(plan),
        prices=dumps(question.book),
        provenance=dumps(provenance(precision=backend.precision)),
    )
    store.start_comparison(row)
    return store.comparison(row.id) or row, plan
