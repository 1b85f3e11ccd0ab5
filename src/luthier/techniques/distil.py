"""Distillation: a teacher answers what nobody labelled, and a student learns from that.

The student has the labels too (Hinton et al. 2015, arXiv:1503.02531; by answers alone, as here, Kim
and Rush 2016, arXiv:1606.07947, section 3.2).
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, fsum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from luthier.content import Response
from luthier.context import report_progress
from luthier.errors import BudgetError, TechniqueError
from luthier.models.model import Model
from luthier.models.prompt import Demonstration
from luthier.records import Budget, Capability, Example, FitRecord, HelperUse, Lineage
from luthier.safety.hosts import refuse_password
from luthier.task.reading.loaders import read_source
from luthier.task.reading.python_function import names_function
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.search.context_window import shrink_to_context
from luthier.techniques.search.demonstration_sets import balanced_set
from luthier.techniques.search.token_budget import TokenBudget, estimate_tokens
from luthier.techniques.setting_checks import check_number, check_whole_numbers

if TYPE_CHECKING:
    from luthier.models.backend import ModelFacts

CHUNK = 16
DEFAULT_TOKENS = 1_000_000  # for the teacher, where a fit has no limit


@dataclass(frozen=True)
class Distil(Technique):
    """A student learns from what a teacher answers.

    **Settings**

    - `teacher`: anything that `luthier.load` opens: a folder, a hub id, http://host/v1#name.
    - `unlabelled`: a source of inputs, as `data` in a task file, with the task's input column. Its
      other columns are not read. Inputs that stand in train or dev are left out.
    - `student`: the technique that learns, "lora" by default.
    - `share`: the part of the budget that the teacher may take, 0.5 by default.
    - `shots`: examples that the teacher is shown, 4 by default.
    - `confidence`: answers with a smaller probability are dropped; it takes a teacher whose labels
      can be scored.
    """

    teacher: str = ""
    unlabelled: str = ""
    student: str = "lora"
    share: float = 0.5
    shots: int = 4
    confidence: float = 0.0

    name: ClassVar[str] = "distil"
    family: ClassVar[str] = "recipe"
    trained: ClassVar[bool] = True
    card: ClassVar[Card] = Card(
        changes="what its student changes",
        needs="a teacher, inputs without labels, and what the student needs; few labels are enough",
        pays_when="a large model knows the task, a small one shall answer, and labels are few",
        costs="the teacher once, at its own price; afterwards no more than the student",
        source="Hinton et al. 2015, arXiv:1503.02531; Kim and Rush 2016, arXiv:1606.07947",
    )

    def __post_init__(self) -> None:
        for setting in ("teacher", "unlabelled"):
            if not getattr(self, setting):
                raise TechniqueError(
                    f"distil: {setting} is not set",
                    next_step="Write distil(teacher='http://host/v1#name', "
                    "unlabelled='more.jsonl').",
                )
        refuse_password(self.teacher, of="the address of the teacher")
        check_number(self, "share", above=0, below=1)
        check_number(self, "confidence", least=0, below=1)
        check_whole_numbers(self, shots=0)
        if not self.learner.trained:
            raise TechniqueError(
                f"distil: {self.student} trains nothing, and a student learns",
                choices=("lora", "full", "prefix", "soft-prompt", "linear-probe"),
                next_step="Name a trained technique as the student.",
            )

    @property
    def learner(self) -> Technique:
        """The student, as a technique."""
        from luthier.techniques.spelling import parse_technique

        return parse_technique(self.student)

    @property
    def needs(self) -> frozenset[Capability]:  # type: ignore[override]
        """What the student needs."""
        return self.learner.needs

    @property
    def footprint(self) -> Footprint:  # type: ignore[override]
        """That of the student."""
        return self.learner.footprint

    def unmet_by_task(self, task: Task) -> str | None:
        """That the inputs are missing, or what the student lacks."""
        named = self.unlabelled.startswith(("hub:", "bundled:")) or names_function(self.unlabelled)
        if not named and not Path(self.unlabelled).is_file():
            return f"there is no file {self.unlabelled} with inputs that nobody labelled"
        return self.learner.unmet_by_task(task)

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Those of the student over the labels and all inputs together, with its share."""
        alone = self.learner.passes(model, task, int(tokens * (1 - self.share)))
        if alone is None:
            return None
        labelled = len(task.train)
        return alone * labelled / (labelled + len(self._inputs(task, seed=0)))

    def unmet_by_model(self, model: Model) -> str | None:
        """Why the base does not suit the student."""
        return self.learner.unmet_by_model(model)

    def content(self) -> str | None:
        """A digest of the inputs, where they are a file: other inputs are another run."""
        path = Path(self.unlabelled)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The student after it learnt from the labels and from the teacher's answers.

        TechniqueError where the teacher gives no answer that can be used, BudgetError where its
        share pays for none.
        """
        check_needs(self, model)
        began = time.perf_counter()
        inputs = self._inputs(task, seed=seed)
        teacher = self._teacher(task, seed=seed)
        weight = relative_size(teacher.backend.facts, model.backend.facts)
        taught, use, dropped = self._taught(teacher, inputs, budget, weight)
        spent = round(weight * (use.read_tokens + use.written_tokens))
        left = replace(budget, tokens=None if budget.tokens is None else budget.tokens - spent)
        fitted = self.learner.fit(
            model, replace(task, train=(*task.train, *taught)), budget=left, seed=seed
        )
        record = fitted.lineage.fit if fitted.lineage else FitRecord()
        record = replace(
            record,
            fit_seconds=time.perf_counter() - began,
            spent_tokens=(record.spent_tokens or 0) + spent,
            helpers=(*record.helpers, use),
            settled={
                **record.settled,
                "teacher": self.teacher,
                "taught": len(taught),
                "dropped": dropped,
                "not reached": len(inputs) - len(taught) - dropped,
                "teacher tokens": use.read_tokens + use.written_tokens,
            },
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return fitted.adapt(lineage=lineage)

    def _inputs(self, task: Task, *, seed: int) -> list[Example]:
        """The inputs without labels, in the order of the seed."""
        column = task.spec.input
        table = read_source(self.unlabelled, columns=(column,))
        known = {e.text.strip() for e in (*task.train, *task.dev)}
        texts = dict.fromkeys(str(row.get(column) or "").strip() for _, row in table.rows)
        found = [
            Example(f"distilled-{number}", text, "")
            for number, text in enumerate(texts)
            if text and text not in known
        ]
        if not found:
            raise TechniqueError(
                f"distil: {self.unlabelled} holds no input that is not in train or dev",
                next_step="Name a source with inputs that nobody labelled.",
            )
        random.Random(seed).shuffle(found)
        return found

    def _teacher(self, task: Task, *, seed: int) -> Model:
        from luthier.models.load import load

        teacher = load(self.teacher)
        if teacher.lineage is not None:  # it was made for the task, and brings its prompt
            return teacher
        pool = [Demonstration(e.text, e.target, e.context) for e in task.train]
        shown = balanced_set(
            pool, min(self.shots, len(pool)), by_label=bool(task.labels), rng=random.Random(seed)
        )
        started = teacher.adapt(
            prompt=replace(task.base_prompt(), demonstrations=tuple(shown)),
            decoding=task.base_decoding(teacher.backend),
        )
        return shrink_to_context(started, (*task.train, *task.dev))[0]

    def _taught(
        self, teacher: Model, inputs: Sequence[Example], budget: Budget, weight: float
    ) -> tuple[list[Example], HelperUse, int]:
        """The inputs with the teacher's answers, what that took, and how many were dropped."""
        whole = budget.tokens if budget.tokens is not None else DEFAULT_TOKENS
        own = TokenBudget(tokens=int(self.share * whole / weight))
        taught: list[Example] = []
        asked = 0
        for begin in range(0, len(inputs), CHUNK):
            chunk = inputs[begin : begin + CHUNK]
            estimate = estimate_tokens(teacher, chunk)
            if not own.affords(estimate):
                break
            report_progress(own.spent, whole, f"the teacher has answered {begin} inputs")
            answers = teacher.answer(chunk)
            before = own.spent
            for answer in answers:
                own.spend(answer.usage)
            own.learn_from(estimate, own.spent - before)
            asked += len(chunk)
            taught += [
                replace(example, target=answer.parsed)
                for example, answer in zip(chunk, answers, strict=True)
                if answer.parsed and self._is_sure(answer)
            ]
        if not asked:
            raise BudgetError(
                f"distil: {self.share:.0%} of {whole:,} tokens do not pay for {CHUNK} answers of "
                "the teacher",
                next_step="Give a larger budget, or a larger share.",
            )
        if not taught:
            raise TechniqueError(
                f"distil: none of {asked} answers of {self.teacher} could be used",
                next_step="Lower `confidence`, or take another teacher.",
            )
        facts = teacher.backend.facts
        use = HelperUse(
            teacher.backend.name, facts.remote, own.spent - own.generated, own.generated
        )
        return taught, use, asked - len(taught)

    def _is_sure(self, answer: Response) -> bool:
        """Whether the label that was answered is as likely, among the labels, as asked for."""
        if self.confidence == 0.0:
            return True
        scores = answer.label_logprobs or {}
        if answer.parsed is None or answer.parsed not in scores:
            return False
        best = max(scores.values())
        whole = fsum(exp(value - best) for value in scores.values())
        return exp(scores[answer.parsed] - best) / whole >= self.confidence


def relative_size(teacher: ModelFacts, base: ModelFacts) -> float:
    """What a token of the teacher counts in tokens of the base: as many times as it is larger. 1
    where a size is not known, as on a server, which bills its tokens apart."""
    sizes = [f.body_parameters or f.parameters for f in (teacher, base)]
    return 1.0 if not sizes[0] or not sizes[1] else max(1.0, sizes[0] / sizes[1])
