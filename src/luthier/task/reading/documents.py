"""The documents behind a task's `knowledge`: which files they are, and a digest of what they say.

A source is a file, a folder, a glob, the folder of an index, an address, "bundled:pydoc", or
"path/file.py:function": a function without arguments that yields {name, text}.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from luthier.errors import StorageError, TaskError, UserError
from luthier.ledger.cache import default_cache_path
from luthier.safety.plain_files import open_plain
from luthier.safety.walking import matching, walk
from luthier.task.reading.python_function import load_function, names_function, split_function

BUNDLED = "bundled:"
BLOCK = 1 << 20
LARGEST_BYTES = 200_000_000  # a larger file is no document (`retrieval.ingest`)


def check_documents(knowledge: Sequence[str], leaving_out: Collection[Path] = ()) -> list[Path]:
    """The files of `leaving_out` (resolved paths) that the sources name and that are no documents.

    TaskError for a source that names nothing else.
    """
    left_out: dict[Path, None] = {}
    for source in knowledge:
        if "\0" in source:
            raise TaskError("a path holds a null character", next_step="Write the path again.")
        if "://" in source or source.startswith(BUNDLED):
            _bundled_name(source)
            continue
        if names_function(source):
            continue  # it runs when the documents are needed
        is_empty = True
        for path in _files(source):
            if leaving_out and path.resolve() in leaving_out:
                left_out[path.resolve()] = None
            else:
                is_empty = False
                if not leaving_out:
                    break
        if is_empty:
            raise TaskError(
                f"`knowledge: {source}` names no file"
                + (" but the data of the task, which is no document" if left_out else ""),
                choices=("a file", "a folder", "a glob such as docs/**/*.md", "an index"),
                next_step="A relative path counts from the folder of the task file.",
            )
    return list(left_out)


def document_sources(knowledge: Sequence[str]) -> tuple[str, ...]:
    """The sources as indexing takes them.

    Documents that are made at load time are written to disk. A glob that matches a whole folder
    becomes that folder, so that its documents are named relative to it.
    """
    return tuple(path for s in knowledge for path in _expanded(_on_disk(s)))


def index_among(knowledge: Sequence[str]) -> str | None:
    """The index that `knowledge` names; None where it names documents."""
    from luthier.retrieval import open_index
    from luthier.retrieval.stores import is_address

    if len(knowledge) != 1:
        return None
    if is_address(knowledge[0]):
        open_index(knowledge[0])
        return knowledge[0]
    if "://" in knowledge[0] or not Path(knowledge[0]).is_dir():
        return None
    try:
        open_index(knowledge[0])
    except UserError:  # a folder of documents; a broken or newer index raises another error
        return None
    return knowledge[0]


def documents_digest(knowledge: Sequence[str], leaving_out: Collection[Path] = ()) -> str:
    """SHA-256 (hex) over the names and the content of every document; "" for none.

    It does not depend on where the documents lie. An index counts by its fingerprint, any other
    address as it is written. `leaving_out` holds resolved paths of files that are no documents.
    """
    if not knowledge:
        return ""
    total = hashlib.sha256()
    for source in knowledge:
        index = index_among([source])
        if index is not None:
            from luthier.retrieval import open_index

            total.update(open_index(index).fingerprint.encode())
            continue
        if "://" in source:
            total.update(source.encode())
            continue
        for path in sorted(_files(_on_disk(source))):
            if leaving_out and path.resolve() in leaving_out:
                continue
            total.update(path.name.encode("utf-8", "surrogatepass") + b"\0")
            for block in _blocks(path):
                total.update(block)
    return total.hexdigest()


def _expanded(source: str) -> tuple[str, ...]:
    if "://" in source or Path(source).exists():
        return (source,)
    fixed = []
    for part in Path(source).parts:
        if glob.has_magic(part):
            break
        fixed.append(part)
    base = Path(*fixed)
    chosen = set(_files(source))
    if base.is_dir() and chosen == set(_files(str(base))):
        return (str(base),)
    return tuple(sorted(str(p) for p in chosen))


def _files(source: str) -> Iterator[Path]:
    path = Path(source)
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (Path(entry.path) for _, entry in walk(path) if entry.is_file())
    else:
        yield from (p for p in map(Path, matching(source)) if p.is_file())


def _blocks(path: Path) -> Iterator[bytes]:
    """The content of a document. What cannot be read, or is too large to be one, counts by its
    size."""
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            yield f"{size} bytes".encode()
            return
        with open_plain(path) as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        yield f"not read: {error.strerror}".encode()


def _bundled_name(source: str) -> str:
    name = source.removeprefix(BUNDLED)
    if source.startswith(BUNDLED) and name != "pydoc":
        raise TaskError(f"there are no bundled documents {name!r}", choices=("bundled:pydoc",))
    return name


def _on_disk(source: str) -> str:
    """A source on disk: documents that are made at load time are written there."""
    if source.startswith(BUNDLED):
        from luthier.task.bundled.pydoc_documents import documents

        _bundled_name(source)
        return str(write_documents(documents(), name="pydoc"))
    if not names_function(source):
        return source
    return str(write_documents(_texts_of_function(source), name=source.rpartition(":")[2]))


def _texts_of_function(source: str) -> dict[str, str]:
    file, name = split_function(source)
    function = load_function(source)
    texts: dict[str, str] = {}
    try:
        rows = list(function())
    except (Exception, SystemExit) as error:
        raise TaskError(
            f"{file.name}:{name} failed: {type(error).__name__}: {error}",
            next_step=f"Mend the function {name} in {file}.",
        ) from error
    for row in rows:
        if not isinstance(row, Mapping) or not {"name", "text"} <= set(row):
            raise TaskError(
                f"{file.name}:{name} yielded something else than {{name, text}}",
                next_step="Yield one dict for each document, with its name and its text.",
            )
        plain = re.sub(r"[^\w.-]+", "-", str(row["name"])).strip(".-") or "document"
        texts[plain if "." in plain else f"{plain}.txt"] = str(row["text"])
    return texts


def write_documents(texts: Mapping[str, str], *, name: str) -> Path:
    """A folder called `name` with these texts under their names, written once.

    StorageError where it cannot be written.
    """
    return _write_once(tuple(sorted(texts.items())), name)


@lru_cache(maxsize=4)
def _write_once(texts: tuple[tuple[str, str], ...], folder_name: str) -> Path:
    digest = hashlib.sha256(repr(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    folder = default_cache_path().parent / "documents" / digest / folder_name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
        try:
            for name, text in texts:
                (scratch / name).write_text(text, "utf-8")
            os.replace(scratch, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was first
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"could not write {folder}: {error.strerror or error}",
            next_step="Set LUTHIER_CACHE to a folder with free space.",
        ) from error
    return folder
