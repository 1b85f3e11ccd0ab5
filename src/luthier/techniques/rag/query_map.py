"""Query map: the retriever learns from the task's questions which passages answer them.

A linear map M of the question's embedding is trained contrastively; the embeddings of the documents
are frozen:

    loss = -log exp(s(q, d+)) / (exp(s(q, d+)) + Σ exp(s(q, d-))),  s(q, d) = cos(q M, d) / τ

d+ is a passage that answers, d- are the best-ranked that do not (hard negatives, as in
arXiv:2004.04906, section 3.2) and the answering passages of the other questions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING, Any, ClassVar

from luthier.context import report_progress
from luthier.errors import TechniqueError
from luthier.models.adaptation import Knowledge
from luthier.models.model import Model
from luthier.models.rag.lookup import cached_index, search_knowledge
from luthier.records import Budget, Capability, Example, FitRecord, FitStep, Lineage
from luthier.scoring.retrieval_metrics import (
    reciprocal_rank,
    relevance,
    relevant,
    with_known_relevance,
)
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, check_needs, settings_of
from luthier.techniques.rag.over_documents import OverDocuments
from luthier.techniques.rag.rag import RAG, with_knowledge
from luthier.techniques.setting_checks import check_whole_numbers

if TYPE_CHECKING:
    import torch

SEARCH_DEPTH = 30  # passages among which the answer and the hard negatives are looked for
TEMPERATURE = 0.05  # τ
NO_MAP = "No map searched better on dev: none is used."
STEPS = (25, 50, 100, 200)
BATCH = 64


@dataclass(frozen=True)
class QueryMap(OverDocuments):
    """A trained map of questions, for a model with knowledge ("rag -> query-map"). Without
    knowledge, `RAG` is fitted first.

    **Settings**

    - `index`: as in `RAG`.
    - `negatives`: hard negatives for each question.
    - `learning_rates`: those that are tried. The rate and the number of steps are settled by MRR@10
      on dev; where no map does better there, the search stays as it was.
    """

    index: str | None = None
    negatives: int = 4
    learning_rates: tuple[float, ...] = (3e-4, 1e-3)

    name: ClassVar[str] = "query-map"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(passages=3)
    card: ClassVar[Card] = Card(
        changes="how questions are embedded before passages are ranked; the index stays",
        needs="documents with embeddings, and questions whose answering passage can be told",
        pays_when="the search misses: questions and documents speak of one thing in other words",
        costs="a matrix of 600 KB; embedding the candidates of a first search",
        source="contrastive, with hard negatives: Karpukhin et al. 2020, arXiv:2004.04906",
    )

    def __post_init__(self) -> None:
        check_whole_numbers(self, negatives=1)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with a query map in its knowledge. The model itself is not asked.

        Raises TechniqueError where it cannot be told which passage answers, or the index has no
        embeddings.
        """
        check_needs(self, model)
        began = time.monotonic()
        rag = RAG(index=self.index)
        started, before = with_knowledge(model, task, rag=rag, budget=budget, seed=seed)
        knowledge = started.adaptation.knowledge
        assert knowledge is not None
        train = with_known_relevance(task.train, labels=bool(task.labels))
        dev = with_known_relevance(task.dev, labels=bool(task.labels))
        if not train or not dev:
            raise TechniqueError(
                "query-map cannot tell which passages answer: the targets are labels",
                next_step="Name the answering passage of each row in `evidence`.",
            )
        plain = replace(knowledge, query_map=None)
        mrr_before = _mrr(plain, dev)
        history = [FitStep(candidate="no map", dev_score=mrr_before)]
        best, best_map = mrr_before, None
        pairs = self._pairs(plain, train)
        for rate in self.learning_rates if pairs else ():
            for step, query_map in train_maps(plain, pairs, rate=rate, seed=seed):
                score = _mrr(replace(plain, query_map=query_map), dev)
                history.append(FitStep(candidate=f"rate {rate:g}", step=step, dev_score=score))
                report_progress(
                    len(history), 1 + len(self.learning_rates) * len(STEPS), f"{score:.3f}"
                )
                if score > best:
                    best, best_map = score, query_map
        record = FitRecord(
            fit_seconds=time.monotonic() - began,
            spent_tokens=before.spent_tokens or 0,
            trainable_parameters=0 if best_map is None else best_map.numel(),
            train_examples=len(pairs),
            dev_score=best,
            settled={"mrr@10 before": mrr_before, "mrr@10": best, "mapped": best_map is not None},
            history=tuple(history),
            unread_documents=before.unread_documents,
            notes=(*before.notes, *(() if best_map is not None else (NO_MAP,))),
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return started.adapt(knowledge=replace(plain, query_map=best_map), lineage=lineage)

    def _pairs(
        self, knowledge: Knowledge, examples: Sequence[Example]
    ) -> list[tuple[str, list[Any]]]:
        """(question, [the best passage that answers, hard negatives...]) for each question of which
        such a passage was found."""
        deep = replace(knowledge, search=replace(knowledge.search, k=SEARCH_DEPTH))
        found = search_knowledge(deep, [e.text for e in examples])
        pairs = []
        for example, hits in zip(examples, found, strict=True):
            positives = [h.passage for h in hits if relevant(h.passage, example)]
            negatives = [h.passage for h in hits if not relevant(h.passage, example)]
            if positives and len(negatives) >= self.negatives:
                pairs.append((example.text, [positives[0], *negatives[: self.negatives]]))
        return pairs


def _mrr(knowledge: Knowledge, examples: Sequence[Example]) -> float:
    return mean(reciprocal_rank(r) for r in relevance(knowledge, examples))


def train_maps(
    knowledge: Knowledge, pairs: Sequence[tuple[str, list[Any]]], *, rate: float, seed: int
) -> list[tuple[int, torch.Tensor]]:
    """(steps, M) after each number of steps of `STEPS`, starting from the identity.

    M is (H, H). `pairs` are (question, [positive, hard negatives...]), `rate` is the learning rate.
    """
    import torch

    embedder = cached_index(knowledge).embedder
    width = len(pairs[0][1])
    questions = torch.tensor(embedder.embed([q for q, _ in pairs]))
    flat = embedder.passages([p for _, shown in pairs for p in shown])
    passages = torch.tensor(flat).view(len(pairs), width, -1)
    ids = [shown[0].id for _, shown in pairs]
    size = questions.shape[1]
    change = torch.zeros(size, size, requires_grad=True)
    optimiser = torch.optim.AdamW([change], lr=rate, weight_decay=0.01)
    draw = torch.Generator().manual_seed(seed)
    maps = []
    for step in range(1, STEPS[-1] + 1):
        rows = torch.randperm(len(pairs), generator=draw)[:BATCH]
        query = torch.nn.functional.normalize(questions[rows] @ (torch.eye(size) + change), dim=-1)
        own = (passages[rows] * query[:, None]).sum(-1)  # (B, 1 + negatives)
        across = query @ passages[rows, 0].T  # (B, B): the positives of the others
        same = torch.tensor([[ids[i] == ids[j] for j in rows] for i in rows])
        scores = torch.cat([own, across.masked_fill(same, float("-inf"))], 1) / TEMPERATURE
        loss = torch.nn.functional.cross_entropy(scores, torch.zeros(len(rows), dtype=torch.long))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step in STEPS:
            maps.append((step, (torch.eye(size) + change).detach().clone()))
    return maps
