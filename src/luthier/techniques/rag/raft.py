"""RAFT: fine-tuning to answer out of passages, some of which only distract (Zhang et al. 2024,
arXiv:2403.10131, section 3)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.models.rag.lookup import search_knowledge
from luthier.models.rag.passages import joined, with_passages
from luthier.records import Budget, Capability, Example, FitRecord, Lineage
from luthier.scoring.retrieval_metrics import relevant
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.rag.task_index import index_content, missing_documents
from luthier.techniques.search.halving import NOT_SEARCHED

LOOKED_THROUGH = 3  # times as many passages as are shown, to draw distractors from


@dataclass(frozen=True)
class RAFT(Technique):
    """`k` passages are shown. Of the training questions, a share `oracle_share` sees a passage that
    answers among them, at a random place; the others see distractors alone and learn the answer by
    heart. LoRA of `rank` trains.

    Without an index and without knowledge in the model, the task's documents are indexed as `RAG`
    does it at its first settings.
    """

    k: int = 3
    oracle_share: float = 0.8
    index: str | None = None
    rank: int = 8

    name: ClassVar[str] = "raft"
    family: ClassVar[str] = "retrieval"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(passages=3, gradients=True)
    card: ClassVar[Card] = Card(
        changes="looks passages up, and trains a LoRA to read the right one among them",
        needs="documents that hold the answers, gradients, a hundred questions or more",
        pays_when="the model is poor at reading, or is led astray by passages that nearly fit",
        costs="an adapter, an index, a search and a longer prompt at every request",
        source="Zhang et al. 2024, arXiv:2403.10131",
    )

    def __post_init__(self) -> None:
        if self.k < 1:
            raise TechniqueError(f"raft: k={self.k} shows no passage", next_step="Take 1 or more.")
        if not 0.0 <= self.oracle_share <= 1.0:
            raise TechniqueError(f"raft: oracle_share={self.oracle_share} is no share of 1")
        if self.rank < 1:
            raise TechniqueError(f"raft: rank={self.rank} is not a rank")

    def unmet_by_task(self, task: Task) -> str | None:
        """In words, what the task lacks for this technique; None where it has documents."""
        return missing_documents(task, self.index)

    def content(self) -> str | None:
        """What the index that is named holds: a run with another content is another run."""
        return index_content(self.index)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with knowledge and an adapter trained on what it looks up.

        The dev split, which stops the training, sees what a search really finds.
        """
        check_needs(self, model)
        from luthier.techniques.adapter.lora import LoRA

        started, searching = self._started(model, task, budget=budget, seed=seed)
        knowledge = started.adaptation.knowledge
        assert knowledge is not None
        lesson = replace(
            task,
            train=tuple(self._lessons(started, task.train, seed=seed)),
            dev=tuple(with_passages(started, task.dev)),
        )
        spent = searching.spent_tokens or 0
        left = None if budget.tokens is None else max(0, budget.tokens - spent)
        trained = LoRA(rank=self.rank).fit(
            started.adapt(knowledge=None),
            lesson,
            budget=replace(budget, tokens=left),
            seed=seed,
        )
        fit = trained.lineage.fit if trained.lineage else FitRecord()
        record = replace(
            fit,
            fit_seconds=(fit.fit_seconds or 0.0) + (searching.fit_seconds or 0.0),
            spent_tokens=(fit.spent_tokens or 0) + spent,
            settled={"k": self.k, "mode": knowledge.search.mode},
            unread_documents=searching.unread_documents,
            notes=(*(n for n in searching.notes if n != NOT_SEARCHED), *fit.notes),
        )
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return trained.adapt(knowledge=knowledge, lineage=lineage)

    def _started(
        self, model: Model, task: Task, *, budget: Budget, seed: int
    ) -> tuple[Model, FitRecord]:
        """The model with knowledge: its own, or what `RAG` finds without asking the model."""
        from luthier.techniques.rag.rag import RAG

        knowledge = model.adaptation.knowledge
        if knowledge is not None and self.index is None:
            search = replace(knowledge.search, k=self.k)
            return model.adapt(knowledge=replace(knowledge, search=search)), FitRecord()
        plain = RAG(index=self.index, k=self.k, form="plain", reading="joined")
        fitted = plain.fit(model, task, budget=Budget(tokens=0), seed=seed)
        return fitted, fitted.lineage.fit if fitted.lineage else FitRecord()

    def _lessons(self, model: Model, examples: Sequence[Example], *, seed: int) -> list[Example]:
        knowledge = model.adaptation.knowledge
        assert knowledge is not None
        wide = replace(knowledge, search=replace(knowledge.search, k=self.k * LOOKED_THROUGH))
        draw = random.Random(seed)
        lessons = []
        found = search_knowledge(wide, [e.text for e in examples])
        for example, hits in zip(examples, found, strict=True):
            telling = [h for h in hits if relevant(h.passage, example)]
            others = [h for h in hits if h not in telling]
            with_oracle = bool(telling) and draw.random() < self.oracle_share
            shown = others[: self.k - with_oracle]
            if with_oracle:
                shown.insert(draw.randrange(len(shown) + 1), telling[0])
            lessons.append(replace(example, context=joined(model, shown, own=example.context)))
        return lessons
