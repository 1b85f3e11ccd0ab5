"""Test examples that stand in the task's documents together with their answers."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.errors import UserError
from luthier.records import Example
from luthier.task.reading.documents import document_sources, index_among

if TYPE_CHECKING:
    from luthier.task.task import Task

ANCHOR = 5  # words by which an input is looked for
MOST_WORDS = 60  # of an input: what follows them is not compared
NEARBY = 20  # words between an input and its answer, at most
MOST_CHARACTERS = 60_000_000
NAMED = 5
_WORDS = re.compile(r"\w+")
_ESCAPES = re.compile(r"\\[nrt]")
_Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentLeaks:
    """Test inputs that stand in the documents with their answer within 20 words of them.

    **Fields**

    - `found`: how many, of `test_examples`.
    - `sources`: the documents that hold most of them, at most five.
    - `read`: how many documents were looked through, of `documents`; the rest could not be read, or
      lies beyond 60 million characters.
    """

    found: int
    test_examples: int
    sources: tuple[str, ...]
    read: int
    documents: int

    def sentence(self) -> str | None:
        """What was found, in words; None where there was nothing."""
        if not self.found:
            return None
        return (
            f"The documents hold {self.found:,} of {self.test_examples:,} test inputs together "
            f"with their answers ({', '.join(self.sources)}): a technique that looks things up "
            "can copy them, and its score is too high."
        )


def document_leaks(task: Task) -> DocumentLeaks | None:
    """Looks for every test example in the documents of its task.

    None where the task has no documents that can be looked through: none at all, an index, or
    addresses. Words are compared without case, signs and spacing.
    """
    if not task.knowledge or index_among(task.knowledge) is not None:
        return None
    sources = [s for s in document_sources(task.knowledge) if "://" not in s]
    if not sources:
        return None
    targets = _Targets(task.test)
    places: Counter[str] = Counter()
    found: set[int] = set()
    read = documents = characters = 0
    for name, text in _texts(sources, task.spec.data_files):
        documents += 1
        if text is None or characters > MOST_CHARACTERS:
            continue
        read, characters = read + 1, characters + len(text)
        here = targets.found_in(words_of(text))
        if here:
            places[name] += len(here)
            found |= here
    named = tuple(name for name, _ in places.most_common(NAMED))
    return DocumentLeaks(len(found), len(task.test), named, read, documents)


def words_of(text: str) -> _Words:
    """The words of a text, without case; the escapes of JSON for new lines are spaces."""
    plain = unicodedata.normalize("NFKC", _ESCAPES.sub(" ", text)).casefold()
    return tuple(_WORDS.findall(plain))


class _Targets:
    """Test examples by the first words of their inputs."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.inputs = [words_of(e.text)[:MOST_WORDS] for e in examples]
        self.answers = [words_of(e.target) for e in examples]
        self.by_anchor: dict[_Words, list[int]] = {}
        for number, words in enumerate(self.inputs):
            if words and self.answers[number]:
                self.by_anchor.setdefault(words[:ANCHOR], []).append(number)
        self.lengths = sorted({len(anchor) for anchor in self.by_anchor})

    def found_in(self, words: _Words) -> set[int]:
        """The examples whose input stands in `words` with its answer close to it."""
        found: set[int] = set()
        for length in self.lengths:
            windows = zip(*(words[offset:] for offset in range(length)), strict=False)
            for start, window in enumerate(windows):
                for number in self.by_anchor.get(window, ()):
                    if number not in found and self._stands_at(words, start, number):
                        found.add(number)
        return found

    def _stands_at(self, words: _Words, start: int, number: int) -> bool:
        asked, answer = self.inputs[number], self.answers[number]
        end = start + len(asked)
        if words[start:end] != asked:
            return False
        reach = NEARBY + len(answer)
        before, after = words[max(0, start - reach) : start], words[end : end + reach]
        return _holds(before, answer) or _holds(after, answer)


def _holds(words: _Words, answer: _Words) -> bool:
    size = len(answer)
    return any(words[at : at + size] == answer for at in range(len(words) - size + 1))


def _texts(sources: Sequence[str], leaving_out: Sequence[Path]) -> Iterator[tuple[str, str | None]]:
    """(name, text) of every document; None for a text that cannot be read."""
    from luthier.retrieval.ingest.document import UnreadableError
    from luthier.retrieval.ingest.sources import find_documents, read_document

    try:
        files = find_documents(sources, leaving_out=leaving_out)
    except UserError:
        return  # indexing will say what is wrong
    for file in files:
        try:
            yield file.name, read_document(file, file.read()).text
        except UnreadableError:
            yield file.name, None
