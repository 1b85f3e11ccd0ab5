"""The passages that a task's questions may be answered from, and others that do not answer them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.errors import LuthierError
from luthier.models.model import Model
from luthier.models.rag.lookup import search_knowledge
from luthier.probe.probe_request import ProbeRequest
from luthier.records import Example
from luthier.retrieval import IndexSettings, Passage, SearchSettings, build_index, open_index
from luthier.scoring.retrieval_metrics import contains_answer, relevant
from luthier.task.reading.documents import document_sources, index_among

SHOWN = 2  # passages that are put before a question
CHARACTERS = 500  # of a passage, at most
DEPTH = 12  # that are looked at for some which do not answer


@dataclass(frozen=True, slots=True)
class FoundPassages:
    """For each question a text that may answer it, and one on the same matter that does not; ""
    where there is none. `source` says where they come from; "" and `lacks` where they are none."""

    source: str
    answering: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    lacks: str = ""


def find_passages(
    model: Model, request: ProbeRequest, examples: Sequence[Example]
) -> FoundPassages:
    """Out of the examples themselves, where they come with passages; else looked up in the model's
    own documents, the task's, or those that the probe was given."""
    task = request.task
    if task is None:
        return FoundPassages("", lacks="No task was given, so that nothing was asked.")
    own = [example.context or "" for example in examples]
    if all(own):
        turned = own[1:] + own[:1]  # the passage of the next question
        silent = [p if not _says(p, e) else "" for p, e in zip(turned, examples, strict=True)]
        return FoundPassages("the passages of the task", tuple(own), tuple(silent))
    try:
        hits, source = _looked_up(model, request, examples)
    except LuthierError as error:
        return FoundPassages("", lacks=f"The documents could not be searched: {error.problem}.")
    if not source:
        return FoundPassages("", lacks="There are no documents to look answers up in.")
    answering = tuple(_joined(found[:SHOWN]) for found in hits)
    silent = [
        _joined([p for p in found if not contains_answer(p, e) and not relevant(p, e)][:SHOWN])
        for e, found in zip(examples, hits, strict=True)
    ]
    return FoundPassages(source, answering, tuple(silent))


def _looked_up(
    model: Model, request: ProbeRequest, examples: Sequence[Example]
) -> tuple[list[list[Passage]], str]:
    """The best passages for each question, and what was searched; "" where there is nothing."""
    questions, knowledge = [e.text for e in examples], model.adaptation.knowledge
    settings = SearchSettings(k=DEPTH, mode="lexical")
    if knowledge is not None:
        wide = replace(knowledge, search=replace(knowledge.search, k=DEPTH))
        found = search_knowledge(wide, questions)
        return [[hit.passage for hit in hits] for hits in found], "the model's documents"
    assert request.task is not None
    named = request.task.knowledge or request.on
    source = "the documents of the task" if request.task.knowledge else "the documents"
    if not named:
        return [], ""
    index = index_among(named)
    if index is not None:
        searched = open_index(index).search(questions, settings)
        return [[hit.passage for hit in hits] for hits in searched], source
    with tempfile.TemporaryDirectory(prefix="luthier-probe-") as scratch:
        into = Path(scratch) / "index"
        build_index(
            list(document_sources(named)), into,
            settings=IndexSettings(embedder="none", chunk_characters=CHARACTERS),
            leaving_out=request.task.spec.data_files,
        )  # fmt: skip
        searched = open_index(into).search(questions, settings)
    return [[hit.passage for hit in hits] for hits in searched], source


def _joined(passages: Sequence[Passage]) -> str:
    return "\n".join(passage.text.strip() for passage in passages)


def _says(text: str, example: Example) -> bool:
    return contains_answer(Passage("", text, "", 0, len(text)), example)
