"""Which documents there are: files, folders, globs and, where allowed, addresses."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import TaskError, UserError
from luthier.retrieval.ingest.document import LARGEST_BYTES, Document, UnreadableError
from luthier.retrieval.ingest.fetching import fetched
from luthier.retrieval.ingest.reading import READERS, read_bytes
from luthier.safety.plain_files import read_plain
from luthier.safety.walking import fixed_path, matching, walk

# Suffixes of files that lie in many folders of documents and are no documents. Where such a file is
# named itself, reading it fails.
IGNORED_SUFFIXES = frozenset(
    [
        ".png", ".jpg", ".jpeg", ".gif", ".webp", ".ico", ".svg", ".bmp", ".tiff", ".mp3",
        ".mp4", ".wav", ".mov", ".avi", ".zip", ".gz", ".tar", ".xz", ".7z", ".whl", ".so",
        ".dll", ".exe", ".o", ".a", ".pyc", ".class", ".jar", ".woff", ".woff2", ".ttf", ".otf",
        ".sqlite", ".db", ".faiss", ".safetensors", ".bin", ".npy", ".npz", ".parquet", ".lock",
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file or an address to index. `name` is what citations show: the same on every machine.

    `stat` is its size, and the times of its content and of its record (ns); `origin` is the source
    that led to it, with its whole path.
    """

    name: str
    place: str
    stat: tuple[int, int, int]
    origin: str

    @property
    def size_bytes(self) -> int:
        """Its size; 0 for an address."""
        return self.stat[0]

    def read(self) -> bytes:
        """Its content. UnreadableError where it cannot be read."""
        if self.size_bytes > LARGEST_BYTES:
            raise UnreadableError(
                f"it has {self.size_bytes / 1e6:,.0f} MB; the most is {LARGEST_BYTES / 1e6:,.0f}: "
                "cut it into several files"
            )
        try:
            if _is_url(self.place):
                return fetched(self.place)
            return read_plain(self.place, most=LARGEST_BYTES)
        except OSError as error:
            raise UnreadableError(getattr(error, "strerror", None) or str(error)) from None


def read_document(file: SourceFile, data: bytes) -> Document:
    """The document in `data`, by the suffix of its name; UnreadableError where it has no text."""
    suffix = Path(file.name).suffix.lower()
    if _is_url(file.place) and suffix not in READERS:
        suffix = ".html" if data.lstrip()[:1] == b"<" else ".txt"
    return read_bytes(suffix, data)


def find_documents(
    sources: Sequence[str | Path], *, urls: bool = False, leaving_out: Collection[Path] = ()
) -> list[SourceFile]:
    """All documents of the sources, sorted by name.

    `urls` allows addresses; `leaving_out` holds resolved files and folders that are left out.
    TaskError where a source has no documents or two documents have the same name.
    """
    found: dict[str, SourceFile] = {}
    unwanted = {str(path) for path in leaving_out}
    inside = tuple(f"{path}{os.sep}" for path in leaving_out)
    for source in sources:
        before = len(found)
        origin = str(source) if _is_url(str(source)) else os.path.abspath(source)  # noqa: PTH100
        for name, place, file_stat in _documents_of(str(source), urls):
            if place in unwanted or place.startswith(inside):
                continue
            other = found.get(name)
            if other is not None and other.place != place:
                raise TaskError(
                    f"Two documents are both called {name!r}: {other.place} and {place}",
                    next_step="Name a folder that holds both.",
                )
            found[name] = SourceFile(name, place, file_stat, origin)
        if len(found) == before and not any(str(s) == str(source) for s in sources[:-1]):
            raise TaskError(
                f"There are no documents in {source}",
                next_step="Name a file, a folder or a glob such as 'docs/**/*.md'.",
            )
    return [found[name] for name in sorted(found)]


def fixed_part(source: str) -> str:
    """The part of a source before its first pattern; an address as it is."""
    return source if _is_url(source) else str(fixed_path(source))


def root_of(source: str) -> str:
    """The first part of the names of a source's documents."""
    return _root(source)[0]


def _documents_of(source: str, urls: bool) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """(name, place, stat) of each document of a source."""
    if _is_url(source):
        if not urls:
            raise UserError(
                f"{source} is an address, and fetching is off", next_step="Allow it with --urls."
            )
        yield source, source, (0, 0, 0)
        return
    root, base = _root(source)
    if Path(source).is_file():
        yield root, str(base), _stat_of(base.stat())
        return
    if not glob.has_magic(source):
        yield from _walk(base, root)
        return
    for text in matching(source):
        path = Path(text)
        # Unresolved: a link may lead elsewhere.
        relative = path.relative_to(fixed_path(source)).as_posix()
        if "__pycache__" in relative or path.suffix.lower() in IGNORED_SUFFIXES:
            continue
        try:
            known = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(known.st_mode):
            yield f"{root}/{relative}", str(path.resolve()), _stat_of(known)


def _walk(base: Path, root: str) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """The files below a folder, without hidden ones; each is read from the disk once."""
    for relative, entry in walk(base):
        name = entry.name
        if name[name.rfind(".") :].lower() in IGNORED_SUFFIXES:
            continue
        if relative[0] == "." or "/." in relative or "__pycache__" in relative:
            continue
        try:
            if not entry.is_file():
                continue
            file_stat = _stat_of(entry.stat())
        except OSError:
            continue
        place = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
        yield f"{root}/{relative}", place, file_stat


def _stat_of(known: os.stat_result) -> tuple[int, int, int]:
    return known.st_size, known.st_mtime_ns, known.st_ctime_ns


def _root(source: str) -> tuple[str, Path]:
    """The name and the folder (or file) of the fixed part of a source."""
    if _is_url(source):
        return source, Path()
    base = fixed_path(source).resolve()
    return base.name, base


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))
