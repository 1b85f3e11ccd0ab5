"""PDF and HTML, through pypdfium2 and markdownify."""

from __future__ import annotations

from typing import Any

from luthier.retrieval.ingest.document import (
    Document,
    Section,
    UnreadableError,
    join_parts,
    titles,
    with_heading,
)
from luthier.retrieval.ingest.hyphens import without_line_hyphens
from luthier.retrieval.ingest.text import needs_extra, sectioned

NOT_CONTENT = ("script", "style", "noscript", "template", "nav", "footer", "aside", "form", "svg")


def read_pdf(data: bytes) -> Document:
    """A PDF with a section for each page, under the bookmark to which the page belongs.

    UnreadableError where it is encrypted or broken, or has pictures of text only.
    """
    try:
        import pypdfium2
    except ImportError as error:
        raise needs_extra("PDF") from error
    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableError("it is encrypted: save it without a password") from None
        raise UnreadableError("it is broken, or no PDF") from None
    try:
        bookmarks = _bookmarks(pdf)
        path: tuple[str, ...] = ()
        parts, pages = [], []
        for number in range(len(pdf)):
            page = pdf[number]
            words = page.get_textpage()
            pages.append(words.get_text_bounded().replace("\r\n", "\n").strip())
            words.close()
            page.close()
        for number, text in enumerate(without_line_hyphens(pages)):
            path = bookmarks.get(number, path)
            if text:
                parts.append((text, Section(0, 0, path, number + 1)))
    except pypdfium2.PdfiumError as error:
        raise UnreadableError(f"it is broken: {error}") from None
    finally:
        pdf.close()
    if not parts:
        raise UnreadableError("it holds no text (scanned pages need OCR first)")
    return join_parts(parts)


def _bookmarks(pdf: Any) -> dict[int, tuple[str, ...]]:
    """The path of the first bookmark on each page that has one."""
    found: dict[int, tuple[str, ...]] = {}
    path: list[tuple[int, str]] = []
    for mark in pdf.get_toc():
        title = (mark.get_title() or "").strip()
        target = mark.get_dest()
        page = target.get_index() if target else None
        path = with_heading(path, mark.level, title)
        if page is not None and title:
            found.setdefault(page, titles(path))
    return found


def read_html(data: bytes) -> Document:
    """A page's text as Markdown, without navigation and scripts, cut at its headings."""
    try:
        from bs4 import BeautifulSoup
        from markdownify import MarkdownConverter
    except ImportError as error:
        raise needs_extra("HTML") from error
    soup = BeautifulSoup(data, "lxml")
    for tag in soup(NOT_CONTENT):
        tag.decompose()
    body = soup.find("main") or soup.find("article") or soup.body or soup
    text = MarkdownConverter(heading_style="ATX", strip=["a", "img"]).convert_soup(body).strip()
    text = text.replace("\xad", "")  # where a browser may cut a word
    document = sectioned(text)
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    if not title:
        return document
    return Document(
        text,
        tuple(
            s if s.headings[:1] == (title,)
            else Section(s.start, s.end, (title, *s.headings), s.page, s.metadata)
            for s in document.sections
        ),
    )  # fmt: skip
