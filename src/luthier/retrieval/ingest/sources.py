"""Which documents there are: files, folders, globs and, where allowed, addresses."""

from __future__ import annotations

import glob
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
    """A document that is there. `name` is what citations show: the same on every machine."""

    name: str
    place: str
    size_bytes: int

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
    for source in sources:
        before = len(found)
        for name, place, size in _in(str(source), urls):
            inside = not _is_url(place) and leaving_out and leaving_out in Path(place).parents
            if inside:
                continue
            if name in found and found[name].place != place:
                raise TaskError(
                    f"Two documents are both called {name!r}: {found[name].place} and {place}",
                    next_step="Name a folder that holds both.",
                )
            found[name] = Found(name, place, size)
        if len(found) == before and not any(str(s) == str(source) for s in sources[:-1]):
            raise TaskError(
                f"There are no documents in {source}",
                next_step="Name a file, a folder or a glob such as 'docs/**/*.md'.",
            )
    return [found[name] for name in sorted(found)]


def roots(sources: Sequence[str | Path]) -> tuple[str, ...]:
    """The first part of the names that each source's documents get."""
    return tuple(sorted({_root(str(s))[0] for s in sources}))


def _in(source: str, urls: bool) -> Iterator[tuple[str, str, int]]:
    if _is_url(source):
        if not urls:
            raise UserError(
                f"{source} is an address, and fetching is off", next_step="Allow it with --urls."
            )
        yield source, source, 0
        return
    root, base = _root(source)
    if Path(source).is_file():
        yield root, str(base), base.stat().st_size
        return
    pattern = source if glob.has_magic(source) else str(Path(source) / "**")
    fixed = _fixed(source)
    for text in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - knows whole paths
        path = Path(text)
        if path.is_dir() and glob.has_magic(source) and not source.endswith("**"):
            continue
        relative = path.relative_to(fixed)  # unresolved: a link may lead elsewhere
        if not path.is_file() or "__pycache__" in relative.parts:
            continue
        if path.suffix.lower() in PASSED_OVER:
            continue
        yield f"{root}/{relative.as_posix()}", str(path.resolve()), path.stat().st_size


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
