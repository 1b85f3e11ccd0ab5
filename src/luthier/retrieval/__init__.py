"""What do the documents say? Index documents, search them."""

from luthier.retrieval.build import build_index
from luthier.retrieval.index import Index, open_index
from luthier.retrieval.records import (
    BadFile,
    Hit,
    IndexFacts,
    IndexListener,
    IndexProgress,
    IndexReport,
    IndexSettings,
    Passage,
    SearchSettings,
)

__all__ = [
    "BadFile",
    "Hit",
    "Index",
    "IndexFacts",
    "IndexListener",
    "IndexProgress",
    "IndexReport",
    "IndexSettings",
    "Passage",
    "SearchSettings",
    "build_index",
    "open_index",
]
