"""The page of a probe: what it shows, that it is safe, and the probes that are kept beside runs."""

from __future__ import annotations

import re

import pytest

from luthier.errors import StorageError
from luthier.probe.contamination import Contamination, RecitedRow
from luthier.probe.contamination_tests import ContaminationTest
from luthier.probe.familiarity import (
    DocumentFamiliarity,
    Familiarity,
    MatchedText,
    SectionFamiliarity,
    Surprise,
)
from luthier.probe.findings import Findings
from luthier.probe.hallucination_map import HallucinationMap
from luthier.probe.reliability import ReliabilityBin
from luthier.probe.saved_findings import contamination_of, keep_findings, kept_findings
from luthier.probe.skills import Skill, SkillsProfile
from luthier.probe.suffix_index import CorpusPlace
from luthier.probe.verbatim import AnswerTraces, TracedSpan, Traces
from luthier.records import Score
from luthier.report.charts.unit_square import SquareCurve, unit_square
from luthier.report.probe_page import probe_page, write_probe_page
from luthier.report.probe_view import part_views

FAMILIARITY = Familiarity(
    against=(
        MatchedText("its words shuffled", 9, 3, decided_by="paired", verdict="more",
                    paired=Score("paired", 0.97, 0.9, 1.0), roc=((0.0, 0.0), (1.0, 1.0))),
        MatchedText("newer", 9, 3, areas=(Score("loss", 0.61, 0.4, 0.8), Score("min-k++", None)),
                    decided_by="loss", roc=((0.0, 0.0), (1.0, 1.0))),
    ),
    documents=(
        DocumentFamiliarity("a<b>.md", 4, 300, 2.5, 3.9, 1.4, 1.0,
                            (SectionFamiliarity("Intro", 2, 2.0), SectionFamiliarity("", 2, 3.0))),
        DocumentFamiliarity("b.md", 2, 100, 5.0, 3.9, 4.0, 0.5),
    ),
    surprises=(Surprise("b.md", "Part", "<script>alert(1)</script>", 5.0),),
    bits_a_byte=3.1, zlib_bits_a_byte=3.9, windows=6, windows_of=8, documents_of=2,
    tokens=400,
)  # fmt: skip
CONTAMINATION = Contamination(
    task="routing", rows=40, rows_of=40, verdict="found", finished=40,
    tests=(ContaminationTest("test rows against others", "40 against 80", 0.0002, True),
           ContaminationTest("order of the rows", "", lacks="the order is told by the text")),
    recited=(RecitedRow("r", "where is", "my parcel"),),
)  # fmt: skip
TRACES = Traces(
    answers=(
        AnswerTraces(
            "q1", "one two three", 3,
            (TracedSpan("two three", 4, 13, 2, 1, 1e-4, (CorpusPlace("n.txt", 7, "be ", " af"),)),),
            0.67,
        ),
    ),
    answers_of=1, share=0.67, corpus_bytes=10, shards=1,
)  # fmt: skip
WHOLE = Findings(
    base="nano", fingerprint="f" * 64, documents=("a<b>.md", "b.md"),
    unread=("c.pdf: it is empty",), task="routing", task_fingerprint="t" * 64,
    familiarity=FAMILIARITY, traces=TRACES,
    contamination=CONTAMINATION, seconds=61.0,
    hallucination=HallucinationMap(
        reliability=(
            ReliabilityBin(10, 0.4, 0.3, 0.1, 0.6), ReliabilityBin(10, 0.9, 0.5, 0.3, 0.8),
        ),
    ),
    skills=SkillsProfile(skills=(Skill("copy", Score("accuracy", 0.9, 0.7, 1.0), 0.25, 24),)),
)  # fmt: skip


def test_every_part_has_its_section_its_words_and_its_charts():
    page = probe_page(WHOLE)
    for view in part_views(WHOLE):
        assert f'id="{view.key}"' in page
    assert "<h3>ROC curves</h3>" in page
    assert "<h3>Reliability</h3>" in page
    assert "<h3>Skills</h3>" in page
    assert "cannot tell" in page
    assert '<mark title="n.txt, line 7">two three</mark>' in page
    assert "c.pdf: it is empty" in page
    assert page.count("<svg") >= 8  # four charts, each wide and narrow


def test_the_page_is_safe_and_loads_nothing():
    page = probe_page(WHOLE)
    assert "<script" not in page
    assert "a&lt;b&gt;.md" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)


def test_what_was_not_measured_is_not_drawn():
    bare = Findings(base="x", fingerprint="f", familiarity=Familiarity(lacks="no numbers"))
    page = probe_page(bare)
    assert "<svg" not in page
    assert "Familiarity was not measured: no numbers." in page
    assert 'id="skills"' not in page


def test_the_page_replaces_only_what_luthier_wrote(tmp_path):
    target = write_probe_page(WHOLE, tmp_path / "page.html")
    write_probe_page(WHOLE, target)
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(StorageError, match="did not write it"):
        write_probe_page(WHOLE, tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_findings_are_kept_and_read_back(tmp_path):
    first = keep_findings(WHOLE, tmp_path)
    assert keep_findings(WHOLE, tmp_path) == first
    other = keep_findings(Findings(base="org/x", fingerprint="g"), tmp_path)
    assert other.name.startswith("x-skills-")
    (tmp_path / "probes" / "broken.json").write_text("{")
    assert {file for file, _ in kept_findings(tmp_path)} == {first, other}
    assert Findings.load(first) == WHOLE
    with pytest.raises(StorageError, match="cannot be read"):
        Findings.load(tmp_path / "nowhere.json")


def test_contamination_is_found_by_base_and_task(tmp_path):
    keep_findings(WHOLE, tmp_path)
    found = contamination_of(tmp_path, fingerprint="f" * 64, task_fingerprint="t" * 64)
    assert found == CONTAMINATION
    assert contamination_of(tmp_path, fingerprint="f" * 64, task_fingerprint="u") is None
    assert contamination_of(tmp_path / "no", fingerprint="f", task_fingerprint="t") is None


def test_the_unit_square_draws_what_is_there():
    curve = SquareCurve("c & d", ((0.0, 0.0), (1.0, 0.5)), ((0.0, 0.1), None), marked=True)
    drawn = unit_square([curve, SquareCurve("none", ())], across="x", up="y", diagonal="chance")
    assert "c &amp; d" in drawn
    assert "none" not in drawn
    assert drawn.count("<circle") == 3  # two points and the one of the key
    assert unit_square([], across="x", up="y") == ""
