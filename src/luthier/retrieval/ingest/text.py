"""Plain text, Markdown and Python source. Positions are those in the file's own text."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from luthier.errors import UserError
from luthier.retrieval.ingest.document import (
    Document,
    Section,
    UnreadableError,
    titles,
    with_heading,
)
from luthier.tabular import encoding_of

SNIFFED = 65_536


def decoded(data: bytes) -> str:
    """Bytes as text: by the byte order mark or the zeros of UTF-16, else UTF-8, else in the
    likeliest encoding.

    UnreadableError for what is not text.
    """
    shown = encoding_of(data[:SNIFFED])
    if shown is not None and shown != "utf-8-sig":
        try:
            return data.decode(shown)
        except UnicodeDecodeError:
            raise UnreadableError(f"it begins like {shown.upper()} but is not") from None
    if b"\0" in data[:SNIFFED]:
        raise UnreadableError("it is a binary file, not text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise needs_extra("Text that is not UTF-8") from error
    best = from_bytes(data[:SNIFFED]).best()
    if best is None:
        raise UnreadableError("it is neither text in a known encoding nor a known format")
    try:
        return data.decode(best.encoding)
    except UnicodeDecodeError:
        raise UnreadableError(f"it begins like {best.encoding} text but is not") from None


def needs_extra(what: str) -> UserError:
    """The error where the library of a reader is missing."""
    return UserError(f"{what} needs a library that is not installed: pip install 'luthier[rag]'")


def read_text(data: bytes) -> Document:
    """Plain text as one section."""
    text = decoded(data)
    return Document(text, (Section(0, len(text)),))


def read_markdown(data: bytes) -> Document:
    """Markdown with a section under each heading."""
    return sectioned(decoded(data))


def sectioned(text: str) -> Document:
    """Markdown text, cut at its headings, but not within fenced code."""
    from markdown_it import MarkdownIt

    # Lines as the parser counts them: form feeds and vertical tabs end none.
    starts = [0]
    for i, letter in enumerate(text):
        if letter == "\n" or (letter == "\r" and text[i + 1 : i + 2] != "\n"):
            starts.append(i + 1)
    starts.append(len(text))
    tokens = MarkdownIt("commonmark").parse(text)
    headings: list[tuple[int, int, int, str]] = []  # begin, end of the heading, level, title
    for i, token in enumerate(tokens):
        if token.type == "heading_open" and token.map is not None and token.level == 0:
            begin, end = (starts[min(line, len(starts) - 1)] for line in token.map)
            inner = tokens[i + 1]
            title = "".join(c.content for c in inner.children or ()) or inner.content
            headings.append((begin, end, int(token.tag[1]), title.strip()))
    return Document(text, tuple(_sections(text, headings)))


def _sections(text: str, headings: list[tuple[int, int, int, str]]) -> Iterator[Section]:
    path: list[tuple[int, str]] = []
    first = headings[0][0] if headings else len(text)
    if text[:first].strip():
        yield Section(0, first)
    for i, (begin, end, level, title) in enumerate(headings):
        path = with_heading(path, level, title)
        following = headings[i + 1] if i + 1 < len(headings) else None
        until = following[0] if following else len(text)
        if text[end:until].strip():
            yield Section(end, until, titles(path))
        elif following is None or following[2] <= level:
            # A heading without text or subheadings is a section itself.
            yield Section(begin, until, titles(path[:-1]))


def read_python(data: bytes) -> Document:
    """Python source with a section for each class, method and function.

    Source that cannot be parsed is plain text.
    """
    text = decoded(data)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Document(text, (Section(0, len(text)),))
    lines = [0]
    for line in text.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    if text.count("\n") + 1 != len(text.splitlines()) + text.endswith("\n"):
        # Form feeds and the like: the parser and `splitlines` count lines differently.
        return Document(text, (Section(0, len(text)),))
    sections: list[Section] = []
    at = 0
    for start, end, path in _definitions(tree, ()):
        begin, until = lines[start - 1], lines[min(end, len(lines) - 1)]
        if begin > at and text[at:begin].strip():
            sections.append(Section(at, begin, path[:-1]))
        if until > max(at, begin):
            sections.append(Section(max(at, begin), until, path))
            at = until
    if text[at:].strip():
        sections.append(Section(at, len(text)))
    return Document(text, tuple(sections))


def _definitions(
    node: ast.AST, path: tuple[str, ...]
) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """(first line, last line, path) of each function and of the head of each class."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
        inner = (*path, child.name)
        last = child.end_lineno or child.lineno
        if isinstance(child, ast.ClassDef):
            parts = list(_definitions(child, inner))
            yield first, (parts[0][0] - 1 if parts else last), inner
            yield from parts
        else:
            yield first, last, inner
