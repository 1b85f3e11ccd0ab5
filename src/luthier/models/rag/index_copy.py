"""The knowledge slot on disk: small indexes travel with the model, large ones are pointed at."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from luthier.errors import StorageError
from luthier.models.adaptation import Knowledge

FOLDER = "knowledge"
MAP_FILE = "query_map.safetensors"
# An index up to this size is copied, so that a saved model opens elsewhere (decision 8).
MOST_COPIED_BYTES = 64_000_000


def keep(knowledge: Knowledge, folder: Path) -> dict[str, Any]:
    """The slot's entry for the adaptation file; copies the index beside it where it is small."""
    source = Path(knowledge.index)
    entry: dict[str, Any] = {f.name: getattr(knowledge, f.name) for f in fields(Knowledge)}
    entry["index"], entry["copied"] = knowledge.index, False
    if source.is_dir() and _bytes(source) <= MOST_COPIED_BYTES:
        shutil.copytree(source, folder / FOLDER, ignore=shutil.ignore_patterns("*.lock", ".lock*"))
        entry["index"], entry["copied"] = FOLDER, True
        _check_copy(knowledge, folder / FOLDER)
    elif source.exists():
        entry["index"] = str(source.resolve())
    if knowledge.query_map is not None:
        from safetensors.torch import save_file

        save_file({"query_map": knowledge.query_map.contiguous()}, folder / MAP_FILE)
    del entry["query_map"]
    return entry


def reopen(entry: Mapping[str, Any], folder: Path) -> Knowledge:
    """The slot from its entry. KeyError or TypeError where the entry is none."""
    from luthier.retrieval import SearchSettings

    values = dict(entry)
    if values.pop("copied"):
        values["index"] = str((folder / FOLDER).resolve())
    search = dict(values["search"])
    search["where"] = tuple((a, b) for a, b in search["where"])
    values["search"] = SearchSettings(**search)
    knowledge = Knowledge(**values)
    if (folder / MAP_FILE).is_file():
        from safetensors.torch import load_file

        knowledge = replace(knowledge, query_map=load_file(folder / MAP_FILE)["query_map"])
    return knowledge


def _check_copy(knowledge: Knowledge, copy: Path) -> None:
    from luthier.retrieval import open_index

    found = open_index(copy).fingerprint
    if found != knowledge.fingerprint:
        raise StorageError(
            f"the index {knowledge.index} changed while it was copied",
            next_step="Run the same again once indexing is done.",
        )


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
