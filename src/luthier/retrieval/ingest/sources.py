"""Which documents there are: files, folders, globs and, where allowed, addresses."""

from __future__ import annotations

import glob
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import TaskError, UserError
from luthier.retrieval.ingest.document import Document, Reader, UnreadableError
from luthier.retrieval.ingest.pages import read_docx, read_html, read_pdf
from luthier.retrieval.ingest.tables import read_csv, read_jsonl
from luthier.retrieval.ingest.text import read_markdown, read_python, read_text

LARGEST_BYTES = 200_000_000
SECONDS = 30.0
READERS: dict[str, Reader] = {
    ".md": read_markdown, ".markdown": read_markdown, ".html": read_html, ".htm": read_html,
    ".pdf": read_pdf, ".docx": read_docx, ".csv": read_csv, ".tsv": read_csv,
    ".jsonl": read_jsonl, ".py": read_python,
}  # fmt: skip
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
                with urllib.request.urlopen(self.place, timeout=SECONDS) as answer:
                    data: bytes = answer.read(LARGEST_BYTES + 1)
                if len(data) > LARGEST_BYTES:
                    raise UnreadableError(f"it has more than {LARGEST_BYTES / 1e6:,.0f} MB")
                return data
            return Path(self.place).read_bytes()
        except (OSError, urllib.error.URLError) as error:
            raise UnreadableError(getattr(error, "strerror", None) or str(error)) from None


def read_document(file: SourceFile, data: bytes) -> Document:
    """The document in `data`, by the suffix of its name; UnreadableError where it has no text."""
    suffix = Path(file.name).suffix.lower()
    if _is_url(file.place) and suffix not in READERS:
        suffix = ".html" if data.lstrip()[:1] == b"<" else ".txt"
    document = READERS.get(suffix, read_text)(data)
    if not document.text.strip():
        raise UnreadableError("it is empty")
    return document


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
    return source if _is_url(source) else str(_fixed_path(source))


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
    for text in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207 - knows whole paths
        path = Path(text)
        # Unresolved: a link may lead elsewhere.
        relative = path.relative_to(_fixed_path(source)).as_posix()
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
    pending = [(f"{root}/", str(base))]
    seen: set[tuple[int, int]] = set()  # a link may lead back up
    while pending:
        below, folder = pending.pop()
        try:
            known = os.stat(folder)  # noqa: PTH116 - Path is slow for tens of thousands
            entries = list(os.scandir(folder))
        except OSError:
            continue
        if (known.st_dev, known.st_ino) in seen:
            continue
        seen.add((known.st_dev, known.st_ino))
        for entry in entries:
            name = entry.name
            if name[0] == "." or name == "__pycache__":
                continue
            try:
                if entry.is_dir():
                    pending.append((f"{below}{name}/", entry.path))
                    continue
                if name[name.rfind(".") :].lower() in IGNORED_SUFFIXES or not entry.is_file():
                    continue
                file_stat = _stat_of(entry.stat())
            except OSError:
                continue
            place = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            yield below + name, place, file_stat


def _stat_of(known: os.stat_result) -> tuple[int, int, int]:
    return known.st_size, known.st_mtime_ns, known.st_ctime_ns


def _root(source: str) -> tuple[str, Path]:
    """The name and the folder (or file) of the fixed part of a source."""
    if _is_url(source):
        return source, Path()
    base = _fixed_path(source).resolve()
    return base.name, base


def _fixed_path(source: str) -> Path:
    fixed = Path(source)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    return fixed


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))
