"""A corpus in shards that fit into memory, whatever its size.

Plain text, also compressed (.gz, .xz, .bz2), is read line by line; other documents are read whole.
White space is made even: an answer need not break its lines where the corpus does.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from luthier.errors import TaskError
from luthier.retrieval.ingest.document import UnreadableError
from luthier.retrieval.ingest.sources import SourceFile, find_documents, read_document
from luthier.safety.walking import walk

SHARD_BYTES = 32_000_000  # of text; a suffix array takes five times as much beside it
OVERLAP_BYTES = 4096  # that the next shard repeats, so that no span is cut
LONGEST_LINE = 1_000_000  # characters; what is longer is cut
PLAIN = (".txt", ".md", ".text", ".log", ".jsonl", "")
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


@dataclass(slots=True)
class Shard:
    """Even text as UTF-8. `starts` are where its lines begin, `documents` and `lines` the document
    and the number, from 1, of each. Its first `repeated` bytes stood in the shard before too."""

    text: bytearray = field(default_factory=bytearray)
    starts: list[int] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    repeated: int = 0

    def add(self, document: str, line: int, text: str) -> None:
        """Append a line; documents are kept apart by a null character."""
        if self.documents and self.documents[-1] != document:
            self.text += b"\0"
        elif self.text:
            self.text += b" "
        self.starts.append(len(self.text))
        self.documents.append(document)
        self.lines.append(line)
        self.text += text.encode("utf-8", "replace")

    def tail(self) -> Shard:
        """Its last lines, of one document, which the next shard begins with."""
        kept, first = Shard(), len(self.starts)
        while (
            first > 0
            and len(self.text) - self.starts[first - 1] <= OVERLAP_BYTES
            and self.documents[first - 1] == self.documents[-1]
        ):
            first -= 1
        ends = [*self.starts[1:], len(self.text) + 1]
        for n in range(first, len(self.starts)):
            line = bytes(self.text[self.starts[n] : ends[n] - 1]).decode("utf-8", "replace")
            kept.add(self.documents[n], self.lines[n], line)
        kept.repeated = len(kept.text)
        return kept


def even(text: str) -> str:
    """The text with one space for any white space."""
    return " ".join(text.replace("\0", " ").split())


def shards(
    sources: Sequence[str], unread: list[str], *, shard_bytes: int = SHARD_BYTES
) -> Iterator[Shard]:
    """The corpus, shard by shard; what cannot be read is appended to `unread` with the reason.
    TaskError where there is nothing."""
    shard, fresh = Shard(), False
    for name, line, text in _lines(sources, unread):
        shard.add(name, line, text)
        fresh = True
        if len(shard.text) >= shard_bytes:
            yield shard
            shard, fresh = shard.tail(), False
    if fresh:
        yield shard


def _lines(sources: Sequence[str], unread: list[str]) -> Iterator[tuple[str, int, str]]:
    for name, place, file in _files(sources):
        path = Path(place)
        packed = OPENERS.get(path.suffix.lower())
        inner = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
        try:
            if inner in PLAIN:
                opener = packed or open
                with opener(place, "rt", encoding="utf-8", errors="replace") as stream:
                    yield from _of_stream(name, stream)
            elif file is not None:
                text = read_document(file, file.read()).text
                yield from _of_text(name, text)
            else:
                unread.append(f"{name}: compressed files are read where they hold plain text")
        except (OSError, EOFError, lzma.LZMAError) as error:
            unread.append(f"{name}: {error}")
        except UnreadableError as error:
            unread.append(f"{name}: {error.problem}")


def _of_stream(name: str, stream: IO[str]) -> Iterator[tuple[str, int, str]]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        text = even(line)
        if text:
            yield name, number, text


def _of_text(name: str, text: str) -> Iterator[tuple[str, int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield name, number, even(line)


def _files(sources: Sequence[str]) -> Iterator[tuple[str, str, SourceFile | None]]:
    """(name, place, file) of everything to read; compressed files are no documents elsewhere."""
    found = False
    for source in sources:
        packed = list(_packed(source))
        try:
            files = [] if Path(source).is_file() and packed else find_documents([source])
        except TaskError:
            if not packed:
                raise
            files = []
        for file in files:
            found = True
            yield file.name, file.place, file
        for name, place in packed:
            found = True
            yield name, place, None
    if not found:
        raise TaskError("the corpus holds no text", next_step="Name files or folders of text.")


def _packed(source: str) -> Iterator[tuple[str, str]]:
    path = Path(source)
    if path.is_file() and path.suffix.lower() in OPENERS:
        yield path.name, str(path)
    elif path.is_dir():
        for relative, entry in walk(path):
            if Path(relative).suffix.lower() in OPENERS and not relative.startswith("."):
                yield f"{path.name}/{relative}", entry.path
