"""The records of retrieval: passages, how an index is built, and how it is searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from luthier.errors import UserError

MINILM = "minilm"
LEXICAL_ONLY = "none"

Mode = Literal["dense", "lexical", "hybrid"]
MODES: tuple[Mode, ...] = ("dense", "lexical", "hybrid")
STEMMERS = ("english", "none")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a document, with its place.

    `start` and `end` count characters of the text extracted from `source`, end excluded; `text` is
    exactly that part. `page` counts from 1, where the document has pages. `headings` go from the
    document's title down to the section.
    """

    id: str
    text: str
    source: str
    start: int
    end: int
    page: int | None = None
    headings: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def header(self) -> str:
        """The headings in one line: "Handbook > Refunds"."""
        return " > ".join(self.headings)

    @property
    def place(self) -> str:
        """The place for a citation: "handbook.pdf, page 3, characters 120–480"."""
        page = "" if self.page is None else f", page {self.page}"
        return f"{self.source}{page}, characters {self.start}–{self.end}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found. `rank` counts from 1.

    `score` is the cosine of question and passage (dense and hybrid), the passage's BM25 value
    (lexical), or what the reranker gives. A hybrid search orders by the ranks in both searches, so
    that its scores need not fall; `fused` is the sum of reciprocal ranks it orders by. `cosine` and
    `bm25` are None where they were not measured, and `bm25` too where the passage is not among the
    candidates of the search for words.
    """

    passage: Passage
    score: float
    rank: int
    cosine: float | None = None
    bm25: float | None = None
    fused: float | None = None


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How to search.

    **Arguments**

    - `k`: the number of passages.
    - `where`: (name, value) pairs that the metadata of a passage must have; "source" is the name of
      its document.
    - `diversity`: in [0, 1], trades relevance for variety by maximal marginal relevance; 0 is off.
    - `rerank`: a cross-encoder of sentence-transformers, by name or folder, that reorders the
      candidates.
    - `candidates`: how many passages of each ranking take part in fusion, reranking and diversity.
    """

    k: int = 5
    mode: Mode = "hybrid"
    where: tuple[tuple[str, str], ...] = ()
    diversity: float = 0.0
    rerank: str | None = None
    candidates: int = 50

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UserError(f"k must be at least 1, not {self.k}")
        if self.mode not in MODES:
            raise UserError(f"No search mode {self.mode!r}", choices=MODES)
        if not 0.0 <= self.diversity <= 1.0:
            raise UserError(f"diversity must lie in [0, 1], not {self.diversity}")
        if self.candidates < 1:
            raise UserError(f"candidates must be at least 1, not {self.candidates}")


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How an index is built. All of it but `urls` is recorded in the index.

    **Arguments**

    - `chunk_characters`: the longest passage (1,000 characters are about 230 tokens; MiniLM reads
      256, headings included).
    - `overlap_characters`: what neighbouring passages share.
    - `embedder`: "minilm", "none" (lexical search only), a sentence-transformers model ("org/name"
      or a folder) or an OpenAI-compatible endpoint ("http://HOST/v1#MODEL").
    - `headers`: put the headings before the text that is embedded and matched (not before the text
      of the passage itself).
    - `stemmer`: "english" or "none", for lexical search.
    - `urls`: allow sources that are addresses.
    """

    chunk_characters: int = 1000
    overlap_characters: int = 150
    embedder: str = MINILM
    headers: bool = True
    stemmer: str = "english"
    urls: bool = False

    def __post_init__(self) -> None:
        if self.chunk_characters < 50:
            raise UserError(f"chunk_characters must be at least 50, not {self.chunk_characters}")
        if not 0 <= self.overlap_characters <= self.chunk_characters // 2:
            raise UserError(
                f"overlap_characters must lie in [0, {self.chunk_characters // 2}] (half of "
                f"chunk_characters), not {self.overlap_characters}"
            )
        if self.stemmer not in STEMMERS:
            raise UserError(f"No stemmer {self.stemmer!r}", choices=STEMMERS)


@dataclass(frozen=True, slots=True)
class BadFile:
    """A document that could not be indexed, and why."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What an index contains. `bytes` are those on this disk; None where a server keeps it."""

    passages: int
    files: int
    embedder: str
    dimension: int | None
    store: str
    bytes: int | None


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one run of indexing did, in documents and passages.

    `kept` counts documents of sources that were not named in this run; `kept_of` are those sources.
    """

    added: int
    changed: int
    removed: int
    unchanged: int
    passages: int
    embedded: int
    bad: tuple[BadFile, ...]
    seconds: float
    kept: int = 0
    kept_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """The progress of indexing. Bytes are those of the documents that are new or changed."""

    phase: Literal["reading", "embedding", "publishing"]
    files_done: int
    files: int
    bytes_done: int
    bytes: int
    seconds_left: float | None
    source: str = ""


class IndexListener(Protocol):
    """Receives the progress of indexing."""

    def progressed(self, progress: IndexProgress) -> None:
        """Called after every batch of documents."""
