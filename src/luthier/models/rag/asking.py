"""One question to a model with knowledge: the answer, the passages behind it, and the time it
took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.errors import ModelError
from luthier.models.rag.citations import CitationCheck, check_citations
from luthier.models.rag.lookup import cached_index, clear_cache, search_knowledge
from luthier.models.rag.passages import ABSTENTION
from luthier.records import Example

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.retrieval import Hit


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered, out of what. `answer` is "not in the documents" where the model abstained
    or no passage bears out what it said; `said` is what it said."""

    answer: str
    said: str
    check: CitationCheck
    hits: tuple[Hit, ...]
    search_seconds: float
    read_seconds: float

    def to_json(self) -> dict[str, Any]:
        """The object `luthier ask --json` prints."""
        return {
            "answer": self.answer,
            "said": self.said,
            "supported": self.check.supported,
            "citations": [
                {
                    "number": c.number,
                    "source": c.source,
                    "page": c.page,
                    "start": c.start,
                    "end": c.end,
                    "supports": c.supports,
                    "explicit": c.explicit,
                }
                for c in self.check.citations
            ],
            "unknown_citations": list(self.check.unknown),
            "seconds": {"search": self.search_seconds, "read": self.read_seconds},
        }


def ask(model: Model, question: str, *, context: str | None = None) -> Told:
    """Look up, read, check the citations. ModelError for a model without knowledge.

    A label needs no support word for word: where answers are labels, what was found is shown and
    nothing is withheld.
    """
    knowledge = model.adaptation.knowledge
    if knowledge is None:
        raise ModelError(
            "this model has no documents to look anything up in",
            next_step="Fit the technique rag, or give an index.",
        )
    held = cached_index(knowledge)
    clear_cache(knowledge)
    before, started = held.search_seconds, time.perf_counter()
    example = Example(id="ask", input=question, target="", context=context)
    reply = model.answer([example])[0]
    searched = held.search_seconds - before
    read = time.perf_counter() - started - searched
    (hits,) = search_knowledge(knowledge, [question])
    result = check_citations(reply.text, hits)
    said = reply.parsed if reply.parsed is not None else reply.text
    labels = bool(model.adaptation.decoding.labels)
    answer = said if labels or result.supported else ABSTENTION
    return Told(answer, said, result, hits, searched, read)
