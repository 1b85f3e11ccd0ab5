"""Which references suit a task, with what is at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.compare.references.best_sentence import BestSentence
from luthier.compare.references.commonest_answer import CommonestAnswer
from luthier.compare.references.embedding_classifier import EmbeddingClassifier
from luthier.compare.references.plain_reference import PlainReference
from luthier.compare.references.word_classifier import WordClassifier
from luthier.errors import ModelError
from luthier.records import Kind
from luthier.retrieval.types import LEXICAL_ONLY, MINILM
from luthier.safety.hosts import name_host

if TYPE_CHECKING:
    from luthier.task.task import Task


def suited_references(
    task: Task, embedder: str | None = None, *, setfit: bool = False
) -> tuple[PlainReference, ...]:
    """The references that a comparison of this task gets, the plainest first.

    `embedder` names an embedder as in `luthier index`; None takes MiniLM where it is installed,
    "none" leaves embeddings out. `setfit`: also train the embedder. UserError for an unknown name,
    and where SetFit cannot be had.
    """
    from luthier.scoring import scorer_for

    if scorer_for(task).needs_likelihood or not task.train:
        return ()
    if task.labels:
        found: list[PlainReference] = [CommonestAnswer(), WordClassifier()]
        embeds = _embedding_classifier(embedder)
        found += [] if embeds is None else [embeds]
        found += [_setfit_classifier(embedder)] if setfit else []
        return tuple(found)
    if task.knowledge and task.kind in (Kind.QUESTION_ANSWERING, Kind.GENERATE):
        return (BestSentence(vectors=has_minilm() and embedder != LEXICAL_ONLY),)
    return ()


def has_minilm() -> bool:
    """Whether the embedder of the `rag` extra is installed."""
    from luthier.retrieval.embed.minilm import folder

    try:
        folder()
    except ModelError:
        return False
    return True


def _setfit_classifier(embedder: str | None) -> PlainReference:
    from luthier.compare.references.setfit_classifier import SetFitClassifier, require_setfit
    from luthier.retrieval.embed.minilm import folder

    require_setfit()
    if embedder in (None, MINILM):
        return SetFitClassifier(str(folder()), "MiniLM")
    if embedder == LEXICAL_ONLY or embedder.startswith(("http://", "https://")):
        raise ModelError(
            f"SetFit trains an encoder, and {embedder!r} is none that can be trained here",
            next_step="Give --embedder a sentence-transformers model, or leave it out.",
        )
    return SetFitClassifier(embedder, embedder)


def _embedding_classifier(embedder: str | None) -> PlainReference | None:
    from luthier.retrieval.embed import open_embedder

    if embedder is None and not has_minilm():
        return None
    spelling = MINILM if embedder is None else embedder
    name_host(spelling)
    opened = open_embedder(spelling)
    return None if opened is None else EmbeddingClassifier(opened, spelling)
