"""Which documents there are: files, folders, globs and, where allowed, addresses."""

from __future__ import annotations

import glob
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
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
# Found in many a folder of documents and never documents; named one by one they are refused.
PASSED_OVER = frozenset(
    [
        ".png", ".jpg", ".jpeg", ".gif", ".webp", ".ico", ".svg", ".bmp", ".tiff", ".mp3",
        ".mp4", ".wav", ".mov", ".avi", ".zip", ".gz", ".tar", ".xz", ".7z", ".whl", ".so",
        ".dll", ".exe", ".o", ".a", ".pyc", ".class", ".jar", ".woff", ".woff2", ".ttf", ".otf",
        ".sqlite", ".db", ".faiss", ".safetensors", ".bin", ".npy", ".npz", ".parquet", ".lock",
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A document that is there. `name` is what citations show: the same on every machine.

    `stat` is its size, and the times of its content and of its record (ns); `origin` is the source
    it was found by, with its whole path.
    """

    name: str
    place: str
    stat: tuple[int, int, int]
    origin: str

    @property
    def size_bytes(self) -> int:
        """0 for an address."""
        return self.stat[0]

    def read(self) -> bytes:
        """Its content. UnreadableError when it cannot be had."""
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


def read(found: Found, data: bytes) -> Document:
    """A document's text by the format its name ends in; UnreadableError when there is none."""
    suffix = Path(found.name).suffix.lower()
    if _is_url(found.place) and suffix not in READERS:
        suffix = ".html" if data.lstrip()[:1] == b"<" else ".txt"
    document = READERS.get(suffix, read_text)(data)
    if not document.text.strip():
        raise UnreadableError("it is empty")
    return document


def find(
    sources: Sequence[str | Path], *, urls: bool = False, leaving_out: Path | None = None
) -> list[Found]:
    """All documents in order of name. TaskError where a source is missing or holds none."""
    found: dict[str, Found] = {}
    inside = f"{leaving_out}{os.sep}" if leaving_out else None
    for source in sources:
        before = len(found)
        origin = str(source) if _is_url(str(source)) else os.path.abspath(source)  # noqa: PTH100
        for name, place, facts in _in(str(source), urls):
            if inside and place.startswith(inside):
                continue
            other = found.get(name)
            if other is not None and other.place != place:
                raise TaskError(
                    f"Two documents are both called {name!r}: {other.place} and {place}",
                    next_step="Name a folder that holds both.",
                )
            found[name] = Found(name, place, facts, origin)
        if len(found) == before and not any(str(s) == str(source) for s in sources[:-1]):
            raise TaskError(
                f"There are no documents in {source}",
                next_step="Name a file, a folder or a glob such as 'docs/**/*.md'.",
            )
    return [found[name] for name in sorted(found)]


def fixed(source: str) -> str:
    """The part of a source before its first pattern; an address as it is."""
    return source if _is_url(source) else str(_fixed(source))


def root_of(source: str) -> str:
    """The first part of the names that a source's documents get."""
    return _root(source)[0]


def _in(source: str, urls: bool) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """Name, place and facts of each document of a source."""
    if _is_url(source):
        if not urls:
            raise UserError(
                f"{source} is an address, and fetching is off", next_step="Allow it with --urls."
            )
        yield source, source, (0, 0, 0)
        return
    root, base = _root(source)
    if Path(source).is_file():
        yield root, str(base), _facts(base.stat())
        return
    if not glob.has_magic(source):
        yield from _walk(base, root)
        return
    for text in sorted(glob.glob(source, recursive=True)):  # noqa: PTH207 - knows whole paths
        path = Path(text)
        # Unresolved: a link may lead elsewhere.
        relative = path.relative_to(_fixed(source)).as_posix()
        if "__pycache__" in relative or path.suffix.lower() in PASSED_OVER:
            continue
        try:
            known = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(known.st_mode):
            yield f"{root}/{relative}", str(path.resolve()), _facts(known)


def _walk(base: Path, root: str) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """The files below a folder that are no hidden ones; one look at each."""
    todo = [(f"{root}/", str(base))]
    seen: set[tuple[int, int]] = set()  # a link may lead back up
    while todo:
        below, folder = todo.pop()
        try:
            known = os.stat(folder)  # noqa: PTH116 - of ten thousands, Path costs
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
                    todo.append((f"{below}{name}/", entry.path))
                    continue
                if name[name.rfind(".") :].lower() in PASSED_OVER or not entry.is_file():
                    continue
                facts = _facts(entry.stat())
            except OSError:
                continue
            place = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            yield below + name, place, facts


def _facts(known: os.stat_result) -> tuple[int, int, int]:
    return known.st_size, known.st_mtime_ns, known.st_ctime_ns


def _root(source: str) -> tuple[str, Path]:
    """The name and the folder (or file) that the fixed part of a source stands for."""
    if _is_url(source):
        return source, Path()
    base = _fixed(source).resolve()
    return base.name, base


def _fixed(source: str) -> Path:
    fixed = Path(source)
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    return fixed


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))
