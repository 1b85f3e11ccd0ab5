"""Stores of indexes, by address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from luthier.errors import UserError
from luthier.retrieval.index_store import IndexStore

ADDRESSES = (
    "a folder",
    "lancedb://FOLDER",
    "postgresql://HOST/DATABASE#INDEX",
    "qdrant+http://HOST:6333#INDEX",
    "qdrant://FOLDER#INDEX",
)


def is_address(where: str | Path) -> bool:
    """Whether this names a store by scheme, and is no folder."""
    scheme, sign, _ = str(where).partition("://")
    return bool(sign) and scheme in {
        "lancedb", "postgresql", "postgres", "qdrant", "qdrant+http", "qdrant+https",
    }  # fmt: skip


def open_store(where: str | Path) -> IndexStore:
    """The store at an address. UserError for an address that is none, or that holds a password."""
    text = str(where)
    scheme, sign, rest = text.partition("://")
    if not sign:
        from luthier.retrieval.stores.sqlite import SqliteStore

        return SqliteStore(Path(where))
    if not is_address(text):
        raise UserError(f"No store {scheme}:// for an index", choices=ADDRESSES)
    if scheme.startswith(("postgres", "qdrant+")) and urlsplit(text).password:
        raise UserError(
            f"The address of {scheme}://{urlsplit(text).hostname or ''} holds a password, which "
            "would be kept with every model and record that names the index",
            next_step="Leave it out and set PGPASSWORD (PostgreSQL) or QDRANT_API_KEY (Qdrant).",
        )
    if scheme == "lancedb":
        from luthier.retrieval.stores.lance import LanceStore

        return LanceStore(Path(rest))
    if scheme.startswith("qdrant"):
        from luthier.retrieval.stores.qdrant import QdrantStore

        return QdrantStore(text)
    from luthier.retrieval.stores.postgres import PostgresStore

    return PostgresStore(text)
