"""Documents as people have them: what a reader sees is found, and nothing is torn at a line end."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from luthier.retrieval import IndexSettings, SearchSettings, build_index, open_index
from luthier.retrieval.ingest.document import Document, UnreadableError
from luthier.retrieval.ingest.pages import read_html, read_pdf
from luthier.retrieval.ingest.sources import READERS
from luthier.retrieval.ingest.tables import read_csv
from luthier.retrieval.ingest.word import read_docx

pytestmark = pytest.mark.inputs

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def pdf(*pages: list[str]) -> bytes:
    """A PDF with these lines on its pages."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        text = " ".join(f"({line}) Tj T*" for line in lines)
        body = f"BT /F1 12 Tf 72 720 Td 14 TL {text} ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(body)} >>\nstream\n{body}\nendstream",
        ]
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    end = f"trailer << /Size {len(places) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF"
    return out + f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}{end}".encode()


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["The infor-", "mation desk"], "The information desk"),
        (["Our custo-", "mers pay"], "Our customers pay"),
        (["a well-", "known fact"], "a well-known fact"),
        (["the years 2010-", "2012 were"], "the years 2010-2012 were"),
        (["in North-", "Holland only"], "in North-Holland only"),
        (["the re-read text", "was re-", "read twice"], "the re-read text\nwas re-read twice"),
        (["the gizmocast", "and a gizmo-", "cast too"], "the gizmocast\nand a gizmocast too"),
        (["type COVID-", "19 cases"], "type COVID-19 cases"),
        (["IMPOR-", "TANT NOTICE"], "IMPORTANT NOTICE"),
        (["a dash -", "and more"], "a dash -\nand more"),
        (["die Rechnungs-", "nummer steht"], "die Rechnungsnummer steht"),
        (["soft\xadly hyph\xad", "enated"], "soft-ly hyphenated"),
    ],
)
def test_words_cut_at_a_line_end_are_whole(lines: list[str], wanted: str) -> None:
    assert read_pdf(pdf(lines)).text == wanted


def test_a_word_cut_in_a_pdf_is_found_on_its_page(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.pdf").write_bytes(pdf(["Nothing here"], ["The cancel-", "lation fee is due"]))
    settings = IndexSettings(embedder="none")
    build_index([folder], tmp_path / "index", settings=settings)
    (hit,) = open_index(tmp_path / "index").search(
        ["cancellation"], SearchSettings(mode="lexical")
    )[0]
    assert (hit.passage.page, hit.passage.text) == (2, "The cancellation fee is due")


def docx(body: str, *, footnotes: str = "", endnotes: str = "") -> bytes:
    """A Word document with this body and these notes, as Word writes them."""
    word = pytest.importorskip("docx")
    stream = io.BytesIO()
    word.Document().save(stream)
    kinds = {"footnotes": footnotes, "endnotes": endnotes}
    out = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name).decode("utf-8", "surrogateescape")
            if name == "word/document.xml":
                data = (
                    f'<w:document xmlns:w="{W}" xmlns:r="{OFFICE}" '
                    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
                    f'xmlns:v="urn:schemas-microsoft-com:vml"><w:body>{body}</w:body></w:document>'
                )
            for kind, notes in kinds.items():
                if notes and name == "[Content_Types].xml":
                    part = "application/vnd.openxmlformats-officedocument.wordprocessingml"
                    over = (
                        f'<Override PartName="/word/{kind}.xml" ContentType="{part}.{kind}+xml"/>'
                    )
                    data = data.replace("</Types>", f"{over}</Types>")
                if notes and name == "word/_rels/document.xml.rels":
                    rel = f'<Relationship Id="r{kind}" Type="{OFFICE}/{kind}" Target="{kind}.xml"/>'
                    data = data.replace("</Relationships>", f"{rel}</Relationships>")
            new.writestr(name, data.encode("utf-8", "surrogateescape"))
        for kind, notes in kinds.items():
            if notes:
                one = kind.removesuffix("s")
                text = "".join(
                    f'<w:{one} w:id="{number}"{extra}>{paragraph(note)}</w:{one}>'
                    for number, extra, note in (
                        (-1, ' w:type="separator"', "rule"),
                        *((n, "", note) for n, note in enumerate(notes.split("|"), 1)),
                    )
                )
                new.writestr(f"word/{kind}.xml", f'<w:{kind} xmlns:w="{W}">{text}</w:{kind}>')
    return out.getvalue()


def run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(text: str, *more: str, style: str = "") -> str:
    kind = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{kind}{run(text)}{''.join(more)}</w:p>"


def refers(number: int, kind: str = "footnote") -> str:
    return f'<w:r><w:{kind}Reference w:id="{number}"/></w:r>'


CELL = "<w:tc>{}</w:tc>"
INNER = (
    f"<w:tbl><w:tr>{CELL.format(paragraph('in'))}{CELL.format(paragraph('ner'))}</w:tr></w:tbl>"
    "<w:p/>"
)


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (paragraph("Fees are due", refers(1), run(" in May.")),
         "Fees are due in May.\n[Note: Not for members.]"),
        (paragraph("One", refers(1), run(" two"), refers(2), run(" three")),
         "One two three\n[Note: Not for members.]\n[Note: See annex.]"),
        (paragraph("Ends", refers(1, "endnote")), "Ends\n[Note: At the end.]"),
        (f"<w:tbl><w:tr>{CELL.format(paragraph('a'))}"
         f"{CELL.format(paragraph('b', refers(2)))}</w:tr></w:tbl>",
         "a | b\n[Note: See annex.]"),
        (f"<w:p>{run('kept ')}<w:ins>{run('new ')}</w:ins><w:del><w:r><w:delText>old</w:delText>"
         f"</w:r></w:del>{run('text')}</w:p>", "kept new text"),
        (f"<w:sdt><w:sdtContent>{paragraph('A form')}</w:sdtContent></w:sdt>", "A form"),
        (f"<w:p>{run('See ')}<w:hyperlink r:id='x'>{run('the site')}</w:hyperlink></w:p>",
         "See the site"),
        (f"<w:p>{run('Box:')}<w:r><mc:AlternateContent><mc:Choice Requires='wps'><w:pict>"
         f"<w:txbxContent>{paragraph('inside')}</w:txbxContent></w:pict></mc:Choice><mc:Fallback>"
         f"<w:pict><w:txbxContent>{paragraph('inside')}</w:txbxContent></w:pict></mc:Fallback>"
         "</mc:AlternateContent></w:r></w:p>", "Box:\ninside"),
        ("<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/>"
         "<w:t>d</w:t><w:softHyphen/><w:t>e</w:t></w:r></w:p>", "a\tb\nc-de"),
        (f"<w:tbl><w:tr>{CELL.format(paragraph('x'))}{CELL.format(INNER)}</w:tr></w:tbl>",
         "x | in | ner"),
        (f"<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val='2'/></w:tcPr>{paragraph('wide')}</w:tc>"
         f"</w:tr><w:tr>{CELL.format(paragraph('a'))}{CELL.format(paragraph('b'))}</w:tr></w:tbl>",
         "wide\na | b"),
        (paragraph("Rules", style="Heading1") + paragraph("Body", refers(1)),
         "Body\n[Note: Not for members.]"),
    ],
)  # fmt: skip
def test_all_of_a_word_document_is_read(body: str, wanted: str) -> None:
    data = docx(body, footnotes="Not for members.|See annex.", endnotes="At the end.")
    assert read_docx(data).text == wanted


def test_headings_of_a_word_document_hold(tmp_path: Path) -> None:
    document = read_docx(docx(
        paragraph("Guide", style="Title") + paragraph("Fees", style="Heading1")
        + paragraph("Ten euros") + paragraph("Late fees", style="Heading2") + paragraph("Two")
    ))  # fmt: skip
    assert [s.headings for s in document.sections] == [
        ("Guide", "Fees"),
        ("Guide", "Fees", "Late fees"),
    ]
    with pytest.raises(UnreadableError, match="broken"):
        read_docx(b"PK\x03\x04")


def sections(document: Document) -> list[str]:
    return [document.text[s.start : s.end] for s in document.sections]


@pytest.mark.parametrize(
    "data",
    [
        b"sep=;\ntitle;text\none;first, and more\ntwo;second\n",
        b"title;text;a,b,c\r\none;first, and more;\r\ntwo;second;\r\n",
        b"title,text,\none,\"first, and more\",\ntwo,second,,\n",
        "title\ttext\none\tfirst, and more\ntwo\tsecond\n".encode("utf-16"),
        "title;text\none;first, and more\ntwo;second\n".encode("utf-16-le"),
        "title|text\none|first, and more\ntwo|second\n".encode("utf-16-be"),
        b'title,text\n"one","=""first, and more"""\n\n,,\ntwo,second\n',
    ],
)  # fmt: skip
def test_tables_among_documents(data: bytes) -> None:
    document = read_csv(data)
    assert sections(document) == ["first, and more", "second"]
    assert [s.headings for s in document.sections] == [("one",), ("two",)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("suffix", [".txt", ".md", ".py", ".jsonl"])
def test_texts_with_and_without_marks(encoding: str, suffix: str) -> None:
    text = '{"text": "Łódź is a city"}' if suffix == ".jsonl" else "# Łódź is a city"
    document = READERS.get(suffix, READERS[".md"])(text.encode(encoding))
    assert "Łódź is a city" in document.text


def test_soft_hyphens_of_a_page_are_no_signs() -> None:
    page = "<html><body><p>The can&shy;cel&shy;la&shy;tion fee</p></body></html>"
    assert read_html(page.encode()).text == "The cancellation fee"
