"""Checks a response against the documents: its citations, and whether the answer is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from luthier.content import Conversation, Grounding, Response, question_of
from luthier.models.rag.citations import check_citations
from luthier.models.rag.lookup import cached_index, search_knowledge

if TYPE_CHECKING:
    from luthier.models.model import Model


def grounded(model: Model, conversation: Conversation, respond: Callable[[], Response]) -> Response:
    """What `respond` returns for a conversation, with its citations and its grounding.

    A label needs no support word for word: where answers are labels, nothing is withheld.
    """
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    index = cached_index(knowledge)
    searched_before, started = index.search_seconds, time.perf_counter()
    response = respond()
    search_seconds = index.search_seconds - searched_before
    read_seconds = time.perf_counter() - started - search_seconds
    (hits,) = search_knowledge(knowledge, [question_of(conversation)])
    check = check_citations(
        response.text, hits, question=question_of(conversation), least=knowledge.least_relevance
    )
    free_text = not model.adaptation.decoding.labels and not response.tool_calls
    grounding = Grounding(
        supported=check.supported,
        withheld=free_text and not check.supported,
        unknown_citations=check.unknown,
        relevance=check.relevance,
        complete=check.complete if free_text and check.complete != check.text else None,
        search_seconds=search_seconds,
        read_seconds=read_seconds,
    )
    return replace(response, citations=check.citations, grounding=grounding)
