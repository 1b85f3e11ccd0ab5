"""The index of a task's documents: one that is named, or one that is made and kept.

An index made here is a pure function of the documents and its settings, so it is made once and
shared by every seed, technique and comparison (`$LUTHIER_CACHE/indexes`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.context import report_progress
from luthier.errors import StorageError, TechniqueError
from luthier.ledger.cache import default_cache_path
from luthier.task.reading.documents import document_sources, documents_digest, index_among
from luthier.techniques.rag.unread import read_unread, write_unread

if TYPE_CHECKING:
    from luthier.retrieval import IndexSettings
    from luthier.task.task import Task

FORMAT = 3  # raise when the same documents and settings would give another index


@dataclass(frozen=True, slots=True)
class TaskIndex:
    """An index and what is known of it.

    **Fields**

    - `index`: its folder or address.
    - `can_embed`: whether it has vectors, for dense search.
    - `chunk_characters`: the length of its passages; None where it was made elsewhere.
    - `unread`: the documents that it could not take in, and why.
    """

    index: str
    fingerprint: str
    passages: int
    can_embed: bool
    chunk_characters: int | None = None
    unread: tuple[str, ...] = ()


def missing_documents(task: Task, index: str | None) -> str | None:
    """In words, that a task has no documents to look things up in; None where it has."""
    if index is not None or task.knowledge:
        return None
    return (
        "the task names no documents: write `knowledge: docs/**` in its file, or give an index, "
        "rag(index='FOLDER')"
    )


def index_content(index: str | None) -> str | None:
    """The fingerprint of an index that a setting names; None where none is named.

    UserError where there is no such index.
    """
    if index is None:
        return None
    from luthier.retrieval import open_index

    return open_index(index).fingerprint


def named_index(task: Task, index: str | None) -> str | None:
    """The index to use as it is; None where one has to be made of the task's documents.

    TechniqueError where there is neither.
    """
    reason = missing_documents(task, index)
    if reason is not None:
        raise TechniqueError(reason)
    return index if index is not None else index_among(task.knowledge)


def existing_index(where: str) -> TaskIndex:
    """An index that was made elsewhere."""
    from luthier.retrieval import open_index

    index = open_index(where)
    return TaskIndex(
        str(where), index.fingerprint, index.facts.passages, index.facts.dimension is not None
    )


def task_index(task: Task, settings: IndexSettings) -> TaskIndex:
    """The index of the task's documents, made now where it is not there yet. The files that the
    task's own rows come from are no documents.

    Documents that cannot be read are named in `unread` and left out: a comparison should not fail
    for one broken file. StorageError where the cache cannot be written.
    """
    from luthier.retrieval import build_index, open_index

    data_files = task.spec.data_files
    digest = hashlib.sha256(
        f"{FORMAT}/{documents_digest(task.knowledge, data_files)}/{settings!r}".encode()
    ).hexdigest()
    folder = default_cache_path().parent / "indexes" / digest[:24]
    if not folder.is_dir():
        report_progress(0, 1, "indexing the documents")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
        except OSError as error:
            raise StorageError(
                f"could not write {folder.parent}: {error.strerror or error}",
                next_step="Set LUTHIER_CACHE to a folder with room.",
            ) from error
        try:
            made = build_index(
                list(document_sources(task.knowledge)),
                scratch / "index",
                settings=settings,
                leaving_out=data_files,
            )
            write_unread(scratch / "index", [f"{b.source}: {b.reason}." for b in made.bad])
            try:
                os.replace(scratch / "index", folder)
            except OSError:
                if not folder.is_dir():  # else another process was first
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    index = open_index(folder)
    return TaskIndex(
        str(folder),
        index.fingerprint,
        index.facts.passages,
        index.facts.dimension is not None,
        settings.chunk_characters,
        read_unread(folder),
    )
