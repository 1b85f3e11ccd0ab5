"""The knowledge slot on disk: a small index is copied beside the model, a large one stays where it
is and the saved model names its place."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.errors import StorageError
from luthier.models.adaptation import Knowledge, PassageForm, Reading
from luthier.safety.saved_parts import check_types, damaged, read_tensors
from luthier.serialization import from_plain, to_plain

FOLDER = "knowledge"
MAP_FILE = "query_map.safetensors"
# An index up to this size is copied, so that a saved model opens elsewhere (decision 8).
MOST_COPIED_BYTES = 64_000_000


def save_knowledge(knowledge: Knowledge, folder: Path) -> dict[str, Any]:
    """The slot's entry for the adaptation file, as plain values.

    Copies the index into `folder` where it is small, and writes the query map there.
    """
    source = Path(knowledge.index)
    place, copied = knowledge.index, False
    if source.is_dir() and _bytes(source) <= MOST_COPIED_BYTES:
        shutil.copytree(source, folder / FOLDER, ignore=shutil.ignore_patterns("*.lock", ".lock*"))
        place, copied = FOLDER, True
        _check_copy(knowledge, folder / FOLDER)
    elif source.exists():
        place = str(source.resolve())
    if knowledge.query_map is not None:
        from safetensors.torch import save_file

        save_file({"query_map": knowledge.query_map.contiguous()}, folder / MAP_FILE)
    entry = to_plain(replace(knowledge, index=place, query_map=None))
    del entry["query_map"]
    return {**entry, "copied": copied}


def open_knowledge(entry: Mapping[str, Any], folder: Path) -> Knowledge:
    """The slot from its entry. KeyError or TypeError where the entry is none."""
    from luthier.retrieval import SearchSettings

    values = dict(entry)
    if values.pop("copied"):
        values["index"] = str((folder / FOLDER).resolve())
    values["search"] = from_plain(SearchSettings, values["search"])
    check_types(values["search"], SearchSettings, "knowledge.search")
    knowledge = Knowledge(**values)
    for name, kind in (("index", str), ("fingerprint", str), ("form", PassageForm),
                       ("reading", Reading), ("temperature", float | None),
                       ("shown_passages", int)):  # fmt: skip
        check_types(getattr(knowledge, name), kind, f"knowledge.{name}")
    if (folder / MAP_FILE).is_file():
        tensor = read_tensors(folder / MAP_FILE, "query_map")["query_map"]
        if tensor.dim() != 2 or tensor.shape[0] != tensor.shape[1]:
            raise damaged(folder / MAP_FILE, f"its shape is {tuple(tensor.shape)}")
        return replace(knowledge, query_map=tensor)
    return knowledge


def _check_copy(knowledge: Knowledge, copy: Path) -> None:
    from luthier.retrieval import open_index

    fingerprint = open_index(copy).fingerprint
    if fingerprint != knowledge.fingerprint:
        raise StorageError(
            f"the index {knowledge.index} changed while it was copied",
            next_step="Run the same again once indexing is done.",
        )


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
