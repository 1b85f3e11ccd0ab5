"""RAFT: a model is fine-tuned to answer out of passages, some of which only distract (Zhang et al.
2024, arXiv:2403.10131, section 3)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.models.model import Model
from luthier.models.rag.lookup import search_knowledge
from luthier.models.rag.passages import joined, with_passages
from luthier.records import Budget, Capability, Example, FitRecord, Lineage
from luthier.scoring.retrieval_metrics import relevant
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, check_needs, settings_of
from luthier.techniques.rag.over_documents import OverDocuments
from luthier.techniques.rag.rag import RAG, with_knowledge
from luthier.techniques.search.halving import NOT_SEARCHED
from luthier.techniques.setting_checks import check_number, check_whole_numbers

SEARCH_FACTOR = 3  # so many times the passages that are shown are searched, for distractors


@dataclass(frozen=True)
class RAFT(OverDocuments):
    """Trains LoRA on questions that stand behind passages.

    **Settings**

    - `k`: how many passages are shown.
    - `oracle_share`: the share of the training questions that have a passage that answers among
      them, at a random place; the others have distractors alone, and the answer is learnt by heart.
    - `index`: as in `RAG`. Without one, and without knowledge in the model, the task's documents
      are indexed as `RAG` does it at its first settings.
    - `rank`: of LoRA.
    """

    k: int = 3
    oracle_share: float = 0.8
    index: str | None = None
    rank: int = 8

    name: ClassVar[str] = "raft"
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
        check_whole_numbers(self, k=1, rank=1)
        check_number(self, "oracle_share", least=0, most=1)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with knowledge and an adapter trained on what it looks up.

        The dev examples, on which the training stops, have the passages that a search really finds.
        """
        check_needs(self, model)
        from luthier.techniques.adapter.lora import LoRA

        rag = RAG(index=self.index, k=self.k, form="plain", reading="joined")
        # A budget of nothing: the search is settled without asking the model.
        started, searching = with_knowledge(
            model, task, rag=rag, budget=Budget(tokens=0), seed=seed
        )
        found = started.adaptation.knowledge
        assert found is not None
        knowledge = replace(found, search=replace(found.search, k=self.k))
        started = started.adapt(knowledge=knowledge)
        task_with_passages = replace(
            task,
            train=tuple(self._training_examples(started, task.train, seed=seed)),
            dev=tuple(with_passages(started, task.dev)),
        )
        spent = searching.spent_tokens or 0
        left = None if budget.tokens is None else max(0, budget.tokens - spent)
        trained = LoRA(rank=self.rank).fit(
            started.adapt(knowledge=None),
            task_with_passages,
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
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return trained.adapt(knowledge=knowledge, lineage=lineage)

    def _training_examples(
        self, model: Model, examples: Sequence[Example], *, seed: int
    ) -> list[Example]:
        """The examples with passages as their context: an oracle or not, and distractors."""
        knowledge = model.adaptation.knowledge
        assert knowledge is not None
        wide = replace(knowledge, search=replace(knowledge.search, k=self.k * SEARCH_FACTOR))
        rng = random.Random(seed)
        with_context = []
        found = search_knowledge(wide, [e.text for e in examples])
        for example, hits in zip(examples, found, strict=True):
            oracles = [h for h in hits if relevant(h.passage, example)]
            distractors = [h for h in hits if h not in oracles]
            with_oracle = bool(oracles) and rng.random() < self.oracle_share
            shown = distractors[: self.k - with_oracle]
            if with_oracle:
                shown.insert(rng.randrange(len(shown) + 1), oracles[0])
            with_context.append(replace(example, context=joined(model, shown, own=example.context)))
        return with_context
