"""Word documents: all that a reader sees of them, each note below the paragraph it belongs to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from typing import Any

from luthier.retrieval.ingest.document import (
    LARGEST_BYTES,
    Document,
    Section,
    UnreadableError,
    join_parts,
    titles,
    with_heading,
)
from luthier.retrieval.ingest.text import needs_extra

MOST_PARTS = 20_000  # of one archive
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
# Deleted or moved text, and the second version of a drawing, for older programs.
_NOT_READ = frozenset([f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_MC}Fallback"])
_SIGNS = {
    f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-",
    f"{_W}softHyphen": "",
}  # fmt: skip
_NOTES = {f"{_W}footnoteReference": "footnotes", f"{_W}endnoteReference": "endnotes"}


def read_docx(data: bytes) -> Document:
    """A Word document with a section under each heading; tables are read row by row.

    Footnotes and endnotes stand below the paragraph that refers to them. Text boxes, forms and
    inserted text are read, deleted text is not.
    """
    try:
        import docx
    except ImportError as error:
        raise needs_extra("DOCX") from error
    check_unpacked(data)
    try:
        document = docx.Document(io.BytesIO(data))
        notes = _notes(document.part)
        blocks = list(_blocks(document.element.body))
        styles = {s.style_id: s.name or "" for s in document.styles}
    except Exception as error:  # zipfile, lxml and python-docx each have their own
        raise UnreadableError(f"it is broken, or no DOCX ({type(error).__name__})") from None
    path: list[tuple[int, str]] = []
    parts: list[tuple[str, Section]] = []
    lines: list[str] = []

    def close() -> None:
        if lines:
            parts.append(("\n\n".join(lines), Section(0, 0, titles(path))))
            lines.clear()

    for block in blocks:
        found: list[str] = []
        text = (_table_text if block.tag == f"{_W}tbl" else _text)(block, notes, found).strip()
        if not text:
            continue
        level = _level(block, styles) if block.tag == f"{_W}p" else None
        if level is not None:
            close()
            path = with_heading(path, level, text)
            lines += found
        else:
            lines.append("\n".join([text, *found]))
    close()
    if not parts and path:
        parts.append(("\n\n".join(titles(path)), Section(0, 0)))
    return join_parts(parts)


def check_unpacked(data: bytes) -> None:
    """UnreadableError for a ZIP archive that unpacks to more than any document holds."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except Exception:  # the reader itself says what is wrong
        return
    size = sum(part.file_size for part in parts)
    if size > LARGEST_BYTES or len(parts) > MOST_PARTS:
        raise UnreadableError(f"it unpacks to {size / 1e6:,.0f} MB in {len(parts):,} parts")


def _blocks(parent: Any) -> Iterator[Any]:
    """The paragraphs and tables of a body, also those inside of forms and of inserted text."""
    for child in parent:
        if child.tag in (f"{_W}p", f"{_W}tbl"):
            yield child
        elif child.tag not in _NOT_READ and child.tag != f"{_W}sectPr":
            yield from _blocks(child)


def _level(paragraph: Any, styles: dict[str, str]) -> int | None:
    """The level of a heading, 0 for the title; None for other paragraphs."""
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    name = styles.get(style.get(f"{_W}val"), "") if style is not None else ""
    if name == "Title":
        return 0
    word, _, number = name.partition(" ")
    return (
        int(number)
        if word.lower() == "heading" and number.isdecimal() and len(number) < 3
        else None
    )


def _text(element: Any, notes: dict[tuple[str, str], str], found: list[str]) -> str:
    """The text of a paragraph; the notes it refers to are added to `found`."""
    pieces: list[str] = []
    for child in element:
        if child.tag in _NOT_READ:
            continue
        if child.tag == f"{_W}t":
            pieces.append(child.text or "")
        elif child.tag in _SIGNS:
            pieces.append(_SIGNS[child.tag])
        elif child.tag in _NOTES:
            note = notes.get((_NOTES[child.tag], child.get(f"{_W}id")))
            if note:
                found.append(f"[Note: {note}]")
        elif child.tag == f"{_W}txbxContent":  # a text box
            boxed = [_text(block, notes, found).strip() for block in _blocks(child)]
            pieces.append("\n" + "\n".join(text for text in boxed if text) + "\n")
        else:
            pieces.append(_text(child, notes, found))
    return "".join(pieces).replace("\xad", "")


def _table_text(table: Any, notes: dict[tuple[str, str], str], found: list[str]) -> str:
    """A line for each row, its cells with a bar between them."""
    rows = []
    for row in table.iter(f"{_W}tr"):
        if next(row.iterancestors(f"{_W}tbl")) is not table:
            continue  # of a table inside a cell
        cells = []
        for cell in _children(row, f"{_W}tc"):
            texts = [
                (_table_text if block.tag == f"{_W}tbl" else _text)(block, notes, found).strip()
                for block in _blocks(cell)
            ]
            cells.append("\n".join(text for text in texts if text))
        if any(cells):
            rows.append(" | ".join(cells))
    return "\n".join(rows)


def _children(parent: Any, tag: str) -> Iterator[Any]:
    """The children of this kind, also inside of forms and of inserted text."""
    for child in parent:
        if child.tag == tag:
            yield child
        elif child.tag not in _NOT_READ and child.tag not in (f"{_W}tbl", f"{_W}tc", f"{_W}p"):
            yield from _children(child, tag)


def _notes(part: Any) -> dict[tuple[str, str], str]:
    """The text of each footnote and endnote by kind and id."""
    from lxml import etree

    found: dict[tuple[str, str], str] = {}
    for relation in part.rels.values():
        kind = relation.reltype.rpartition("/")[2]
        if kind not in ("footnotes", "endnotes") or relation.is_external:
            continue
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        for note in etree.fromstring(relation.target_part.blob, parser):
            if note.get(f"{_W}type") in (None, "normal"):
                texts = (_text(block, {}, []).strip() for block in _blocks(note))
                found[kind, note.get(f"{_W}id")] = " ".join(text for text in texts if text)
    return found
