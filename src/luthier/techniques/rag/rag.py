"""RAG: passages that bear on the input are looked up and put before it.

Two things are settled on dev. How to cut the documents and how to search them is decided by whether
the passages found hold the answer, which costs no token of the model. How many passages to show,
and how, is decided by the answers, within the budget, as for any prompt.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from luthier.models.adaptation import Knowledge, PassageForm, Reading
from luthier.models.answering import wants_chat
from luthier.models.model import Model
from luthier.records import Budget, Capability, FitRecord, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, check_needs, settings_of
from luthier.techniques.rag.over_documents import OverDocuments
from luthier.techniques.rag.search_settings import DocumentSearch, best_searches
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.context_window import fits, shrink_to_context
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.halving import choose, successive_halving
from luthier.techniques.search.token_budget import TokenBudget
from luthier.techniques.setting_checks import check_choices, check_whole_numbers
from luthier.training.starting_prompt import starting_model

if TYPE_CHECKING:
    from luthier.retrieval import SearchSettings

MODES = ("auto", "hybrid", "dense", "lexical")
FORMS = ("auto", "plain", "numbered", "cited")
READINGS = ("auto", "joined", "sequence", "token")
COUNTS = (3, 1, 5, 8)  # passages, in order of promise


@dataclass(frozen=True)
class RAG(OverDocuments):
    """Retrieval-augmented generation over the task's documents.

    **Settings**

    - `index`: a folder made by `luthier index`, or the address of a store; None indexes the
      documents of the task.
    - `k`: how many passages are shown; None chooses among 1, 3, 5 and 8 on dev.
    - `mode`: of the search; "auto" is settled on dev.
    - `chunk_characters`: the length of a passage; None tries 500 and 1,000.
    - `form`, `reading`: how passages are shown and read (see `Knowledge`); "auto" is settled on
      dev, but passages are read "token" by token only where that is asked for.
    - `shown_passages`: how many passages a demonstration is shown with.
    """

    index: str | None = None
    k: int | None = None
    mode: Literal["auto", "hybrid", "dense", "lexical"] = "auto"
    chunk_characters: int | None = None
    form: Literal["auto", "plain", "numbered", "cited"] = "auto"
    reading: Literal["auto", "joined", "sequence", "token"] = "auto"
    shown_passages: int = 0

    name: ClassVar[str] = "rag"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    trained: ClassVar[bool] = False
    footprint: ClassVar[Footprint] = Footprint(passages=3)
    card: ClassVar[Card] = Card(
        changes="what stands before the input: passages looked up in documents",
        needs="documents that hold the answers; text",
        pays_when="the task fails for want of knowledge, or what is known changes",
        costs="an index to keep; a search and a longer prompt at every request",
        source="Lewis et al. 2020, arXiv:2005.11401; fusion of searches by reciprocal rank, "
        "Cormack et al. 2009",
    )

    def __post_init__(self) -> None:
        check_choices(self, mode=MODES, form=FORMS, reading=READINGS)
        check_whole_numbers(
            self, optional=("k", "chunk_characters"), k=1, chunk_characters=50, shown_passages=0
        )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with knowledge, searched and shown in the way that did best on dev.

        Raises TechniqueError where the task names no documents, or where a single passage does not
        fit the context window. Making an index takes time (`fit_seconds`) and no token of the
        model.
        """
        check_needs(self, model)
        began = time.monotonic()
        searches = best_searches(
            task,
            index=self.index,
            modes=("hybrid", "dense", "lexical") if self.mode == "auto" else (self.mode,),
            chunks=(1000, 500) if self.chunk_characters is None else (self.chunk_characters,),
        )
        search_seconds = time.monotonic() - began
        started = starting_model(model, task).adapt(knowledge=None)
        evaluator = CandidateEvaluator(
            started,
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=("none",),
            seed=seed,
        )
        candidates, notes = self._candidates(evaluator, searches, task)
        evaluator.candidates += candidates
        choice = choose(successive_halving(evaluator, candidates) or candidates[:1])
        fitted = choice.candidate.model
        knowledge = fitted.adaptation.knowledge
        assert knowledge is not None
        used = next(s for s in searches if s.documents.index == knowledge.index)
        record = FitRecord(
            fit_seconds=search_seconds + evaluator.seconds,
            spent_tokens=evaluator.token_budget.spent,
            trainable_parameters=0,
            train_examples=0,
            dev_score=choice.dev_score,
            settled={
                "candidate": choice.candidate.name,
                "k": knowledge.search.k,
                "mode": knowledge.search.mode,
                "form": knowledge.form,
                "reading": knowledge.reading,
                "passages": used.documents.passages,
                "chunk_characters": used.documents.chunk_characters,
            },
            history=(*searches[0].entries, *evaluator.history),
            unread_documents=used.documents.unread,
            notes=(*used.notes, *notes, *choice.notes),
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return fitted.adapt(lineage=lineage)

    def _candidates(
        self, evaluator: CandidateEvaluator, searches: Sequence[DocumentSearch], task: Task
    ) -> tuple[list[Candidate], tuple[str, ...]]:
        """The candidates whose prompts fit the context, in order of promise, and notes.

        Where not even one passage fits, label descriptions and the list of labels are left out.
        """
        model = evaluator.model
        asked = (*task.train, *task.dev)
        variants = list(
            self._knowledge_variants(
                searches,
                chat=wants_chat(model, model.adaptation.prompt),
                can_score=Capability.LOGPROBS in model.capabilities,
            )
        )
        smallest = min(variants, key=lambda knowledge: knowledge.search.k)
        shrunk, notes = shrink_to_context(model.adapt(knowledge=smallest), asked)
        candidates: list[Candidate] = []
        for knowledge in variants:
            adapted = shrunk.adapt(knowledge=knowledge)
            if knowledge.search.k > smallest.search.k and not fits(adapted, asked[:200]):
                continue
            candidates.append(Candidate(_in_words(knowledge), adapted, {"part": "knowledge"}))
        return candidates, notes

    def _knowledge_variants(
        self, searches: Sequence[DocumentSearch], *, chat: bool, can_score: bool
    ) -> Iterator[Knowledge]:
        """What is worth trying: numbers of passages first, then other ways to search and to show
        them."""
        counts = COUNTS if self.k is None else (self.k,)
        forms: tuple[PassageForm, ...] = ("cited", "plain") if chat else ("plain", "cited")
        if self.form != "auto":
            forms = (self.form,)
        readings: tuple[Reading, ...] = ("joined", "sequence") if can_score else ("joined",)
        if self.reading != "auto":
            readings = (self.reading,)
        best, *others = searches
        for count in counts:
            yield self._knowledge(best, count, forms[0], readings[0])
        for search in others:
            yield self._knowledge(search, counts[0], forms[0], readings[0])
        for form in forms[1:]:
            yield self._knowledge(best, counts[0], form, readings[0])
        for reading in readings[1:]:
            yield self._knowledge(best, counts[0], forms[0], reading)

    def _knowledge(
        self, search: DocumentSearch, k: int, form: PassageForm, reading: Reading
    ) -> Knowledge:
        settings: SearchSettings = replace(search.settings, k=k)
        return Knowledge(
            index=search.documents.index,
            fingerprint=search.documents.fingerprint,
            search=settings,
            form=form,
            reading=reading,
            shown_passages=self.shown_passages,
        )


def with_knowledge(
    model: Model, task: Task, *, rag: RAG, budget: Budget, seed: int
) -> tuple[Model, FitRecord]:
    """The model with knowledge, and the record of the fit that gave it.

    Knowledge that the model brings along stays, unless `rag` names an index; else `rag` is fitted.
    """
    if model.adaptation.knowledge is not None and rag.index is None:
        return model, FitRecord()
    fitted = rag.fit(model, task, budget=budget, seed=seed)
    return fitted, fitted.lineage.fit if fitted.lineage else FitRecord()


def _in_words(knowledge: Knowledge) -> str:
    plural = "passage" if knowledge.search.k == 1 else "passages"
    words: list[Any] = [f"{knowledge.search.k} {plural}", knowledge.search.mode, knowledge.form]
    return ", ".join([*words, *([] if knowledge.reading == "joined" else [knowledge.reading])])
