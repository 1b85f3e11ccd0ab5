"""Stores of indexes, by address; packages bring others (`luthier.registry`)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from luthier import registry
from luthier.errors import UserError
from luthier.retrieval.index_store import IndexStore

ADDRESSES = (
    "a folder",
    "lancedb://FOLDER",
    "postgresql://HOST/DATABASE#INDEX",
    "qdrant+http://HOST:6333#INDEX",
    "qdrant://FOLDER#INDEX",
)


FOLDERS = ("lancedb", "qdrant")  # schemes whose rest is a path on this disk


def is_address(where: str | Path) -> bool:
    """Whether this names a store by scheme, and is no folder."""
    return "://" in str(where) and registry.addressed("stores", str(where)) is not None


def open_store(where: str | Path) -> IndexStore:
    """The store at an address. UserError for an address that is none, or that holds a password."""
    address = str(where)
    scheme, sign, _ = address.partition("://")
    name = registry.addressed("stores", address) if sign else "sqlite"
    if name is None:
        plugins = (f"{plugin}://…" for plugin in registry.plugin_names("stores"))
        raise UserError(f"No store {scheme}:// for an index", choices=(*ADDRESSES, *plugins))
    if sign and scheme not in FOLDERS and urlsplit(address).password:
        raise UserError(
            f"The address of {scheme}://{urlsplit(address).hostname or ''} holds a password, which "
            "would be kept with every model and record that names the index",
            next_step="Leave it out and set PGPASSWORD (PostgreSQL) or QDRANT_API_KEY (Qdrant).",
        )
    store: IndexStore = registry.get("stores", name)(address)
    return store
