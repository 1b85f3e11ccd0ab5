"""One bad document stops no other, and none takes for ever."""

from __future__ import annotations

import io
import zipfile

import pytest

from luthier.retrieval import IndexSettings, SearchSettings, build_index, open_index
from luthier.retrieval.ingest import reading
from luthier.retrieval.ingest.chunks import LONG_LINE, cut_passages
from luthier.retrieval.ingest.document import Document, Section, UnreadableError
from luthier.retrieval.ingest.reading import read_bytes
from tests.attacks.watch import ends

pytest.importorskip("docx", reason="needs luthier[rag]")
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def docx_of(body="<w:p><w:r><w:t>Hello there.</w:t></w:r></w:p>", **parts):
    """A Word document with this body, and with parts replaced."""
    import docx

    whole = io.BytesIO()
    docx.Document().save(whole)
    packed = io.BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "word/document.xml":
                content = (
                    f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'.encode()
                )
            new.writestr(name, parts.get(name.rpartition("/")[2].replace(".xml", ""), content))
    return packed.getvalue()


def table(cell):
    return f"<w:tbl><w:tr><w:tc><w:tcPr>{cell}</w:tcPr><w:p/></w:tc></w:tr></w:tbl>"


NESTED = 30_000
BAD = {
    "deep.html": b"<div>" * NESTED + b"x" + b"</div>" * NESTED,
    "list.html": b"<ol start=" + b"9" * 5000 + b"><li>x</ol>",
    "span.html": b"<table><tr><td colspan=2000000000 rowspan=2000000000>x</table>",
    "quote.html": b"<blockquote>" * NESTED + b"x",
    "entity.html": b"<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><p>&b;</p>" * 100,
    "deep.md": b"> " * NESTED + b"x",
    "links.md": b"[" * NESTED + b"a" + b"](" * NESTED,
    "stars.md": b"*a _b " * NESTED,
    "fence.md": b"```\n" * NESTED,
    "heading.docx": docx_of(
        '<w:p><w:pPr><w:pStyle w:val="x"/></w:pPr><w:r><w:t>A</w:t></w:r></w:p>',
        styles=f'<w:styles xmlns:w="{WORD}"><w:style w:type="paragraph" w:styleId="x">'
        '<w:name w:val="Heading x"/></w:style></w:styles>'.encode(),
    ),
    "span.docx": docx_of(table('<w:gridSpan w:val="2000000000"/>') * 50),
    "deep.docx": docx_of("<w:sdt><w:sdtContent>" * 3000 + "</w:sdtContent></w:sdt>" * 3000),
    "broken.docx": docx_of(styles=b"<w:styles"),
    "gone.docx": docx_of(document=b""),
    "bomb.docx": docx_of(f"<w:p><w:r><w:t>{'a' * 250_000_000}</w:t></w:r></w:p>"),
    "rels.docx": docx_of(**{"document.xml.rels": b"<a/>"}),
    "laughs.docx": docx_of(
        document=b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
        + f']><w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>&j;</w:t></w:r></w:p></w:body>'
        "</w:document>".encode()
    ),
    "parens.py": b"(" * 100_000,
    "minus.py": b"-" * 1_000_000 + b"1",
    "nested.py": b"".join(b" " * i + b"if x:\n" for i in range(2000)),
    "number.py": b"x = " + b"9" * 100_000,
    "plus.py": b"x = " + b"1 + " * 200_000 + b"1",
    "pages.pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 1 0 R/Kids[1 0 R]/Count 999999999>>"
    b"endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF",
    "half.pdf": b"%PDF-1.7\n" + bytes(range(256)) * 40,
    "deep.jsonl": b'{"a":' * 50_000,
    "surrogate.jsonl": b'{"text": "half \\ud83d of it", "title": "\\udc00"}\n',
    "nul.jsonl": b'{"text": "a \\u0000 null"}\n',
    "wide.csv": b"a" + b",a" * 100_000 + b"\n" + b"1" + b",1" * 100_000 + b"\n",
    "quote.csv": b'a,b\n"' + b"x" * 100_000,
    "zeros.txt": b"\0" * 100_000,
    "utf16.txt": b"\xff\xfe" + b"\x00\xd8" * 1000,
}


def test_one_bad_document_stops_no_other(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, data in BAD.items():
        (folder / name).write_bytes(data)
    for number in range(3):
        (folder / f"good{number}.md").write_text(f"# Towns\n\nThe mayor of Dorma{number} is Quist.")
    report = build_index([folder], tmp_path / "index", settings=IndexSettings(embedder="none"))
    bad = {b.source.rpartition("/")[2]: b.reason for b in report.bad}
    assert all(reason.strip() for reason in bad.values())
    assert {"deep.html", "bomb.docx", "broken.docx", "gone.docx", "half.pdf", "zeros.txt"} <= set(
        bad
    )
    assert not any(name.startswith("good") for name in bad)
    index = open_index(tmp_path / "index")
    for number in range(3):
        (hits,) = index.search([f"mayor of Dorma{number}"], SearchSettings(mode="lexical", k=1))
        assert hits[0].passage.source.endswith(f"good{number}.md")
    again = build_index([folder], tmp_path / "index", settings=IndexSettings(embedder="none"))
    assert {b.source for b in again.bad} == {b.source for b in report.bad}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_reader_ends_with_a_document_or_a_reason(name):
    with ends(name):
        found = read_bytes(f".{name.rpartition('.')[2]}", BAD[name])
        assert found.text.strip()
        found.text.encode("utf-8")
        assert "\0" not in found.text
        assert all(0 <= s.start <= s.end <= len(found.text) for s in found.sections)


def test_a_reader_that_never_ends_is_ended(monkeypatch):
    monkeypatch.setattr(reading, "SECONDS", 1.0)
    monkeypatch.setattr(
        reading, "CODE",
        "import sys; sys.path.insert(0, {root!r}); import time; "
        "from luthier.retrieval.ingest import reading; "
        "reading.READERS['.md'] = lambda data: time.sleep(60); reading.serve()",
    )  # fmt: skip
    child = reading._ReaderProcess()
    monkeypatch.setattr(reading, "_CHILD", child)
    with pytest.raises(UnreadableError, match="not done after 1 seconds"):
        read_bytes(".md", b"# a")
    monkeypatch.undo()
    assert read_bytes(".md", b"# a").text == "# a"
    child.end()


@pytest.mark.parametrize("fault", ["import os; os._exit(3)", "import os; os.abort()",
                                   "raise MemoryError", "raise RecursionError('deep')",
                                   "raise SystemExit(0)"])  # fmt: skip
def test_a_reader_that_breaks_down_is_named(monkeypatch, fault):
    monkeypatch.setattr(
        reading, "CODE",
        "import sys; sys.path.insert(0, {root!r})\n"
        "from luthier.retrieval.ingest import reading\n"
        f"def read(data):\n    {fault}\n"
        "reading.READERS['.md'] = read\nreading.serve()",
    )  # fmt: skip
    child = reading._ReaderProcess()
    monkeypatch.setattr(reading, "_CHILD", child)
    for _ in range(2):
        with pytest.raises(UnreadableError, match="its reader"):
            read_bytes(".md", b"# a")
    child.end()


def test_the_working_folder_brings_no_code(tmp_path, monkeypatch):
    """A folder of documents may hold a file called json.py."""
    monkeypatch.chdir(tmp_path)
    for name in ("json.py", "docx.py", "bs4.py", "luthier.py"):
        (tmp_path / name).write_text("import pathlib; pathlib.Path('ran').touch()")
    child = reading._ReaderProcess()
    monkeypatch.setattr(reading, "_CHILD", child)
    assert read_bytes(".docx", docx_of()).text == "Hello there."
    assert not (tmp_path / "ran").exists()
    child.end()


def test_long_lines_are_cut_everywhere_and_lose_nothing():
    words = " ".join(f"word{number}." for number in range(20_000))
    document = Document(words, (Section(0, len(words)),))
    settings = IndexSettings(embedder="none", chunk_characters=500, overlap_characters=0)
    passages = list(cut_passages(document, "a", settings))
    assert len(words) > 5 * LONG_LINE
    assert all(len(p.text) <= 500 for p in passages)
    assert all(document.text[p.start : p.end] == p.text for p in passages)
    assert "".join(p.text for p in passages).replace(" ", "") == words.replace(" ", "")
    dense = "x" * 100_000
    cut = list(cut_passages(Document(dense, (Section(0, len(dense)),)), "a", settings))
    assert "".join(p.text for p in cut) == dense
