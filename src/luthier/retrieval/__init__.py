"""What do the documents say? Index documents, search them."""

from luthier.retrieval.indexing import build_index
from luthier.retrieval.search_index import Index, open_index
from luthier.retrieval.types import (
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
