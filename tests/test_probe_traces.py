"""Traces: spans that stand in a corpus word for word, and where; shards, passages, bad files."""

from __future__ import annotations

import json
import lzma
import random

import pytest

from luthier.errors import TaskError, UserError
from luthier.probe.corpus_shards import OVERLAP_BYTES, shards
from luthier.probe.probed_text import ProbedText
from luthier.probe.traced_answers import (
    TracedAnswer,
    documents_as_answers,
    is_answers,
    read_answers,
)
from luthier.probe.verbatim import Traces, find_traces, longest_spans
from luthier.retrieval.ingest.document import Section
from luthier.serialization import dumps, loads

pytest.importorskip("pydivsufsort")

SENTENCE = "the lamp was found in a barn near the old harbour"


def corpus(folder, lines: int = 300, seed: int = 0, name: str = "novel.txt"):
    """Lines of random words, with `SENTENCE` broken over lines 101 and 102."""
    draw = random.Random(seed)
    words = [f"w{n}" for n in range(500)]
    rows = [" ".join(draw.choice(words) for _ in range(9)) for _ in range(lines)]
    words = SENTENCE.split()
    rows[100:100] = ["then " + " ".join(words[:4]), " ".join(words[4:]) + " again"]
    (folder / name).write_text("\n".join(rows), "utf-8")
    return str(folder / name)


def test_a_span_is_found_across_a_line_break_with_its_place(tmp_path):
    found = find_traces(
        [TracedAnswer("a", f"I think {SENTENCE}, which is nice")], [corpus(tmp_path)]
    )
    (answer,) = found.answers
    (span,) = answer.spans
    assert span.text == SENTENCE
    assert answer.text[span.start : span.end] == SENTENCE
    assert span.count == 1
    assert (span.places[0].document, span.places[0].line) == ("novel.txt", 101)
    assert span.places[0].before.endswith("then ")
    assert answer.share == pytest.approx(span.words / answer.words)
    assert span.by_chance < 1e-6


def test_nothing_is_found_of_what_nobody_wrote(tmp_path):
    found = find_traces(
        [TracedAnswer("a", "nobody ever wrote these particular seven words")], [corpus(tmp_path)]
    )
    assert found.share == 0.0
    assert found.answers[0].spans == ()


def test_words_are_whole_and_short_spans_do_not_count(tmp_path):
    (tmp_path / "c.txt").write_text("one two three four five sixty seven")
    answers = [TracedAnswer("a", "one two three four five six and more of it"),
               TracedAnswer("b", "zero zero two three four zero zero")]  # fmt: skip
    found = find_traces(answers, [str(tmp_path / "c.txt")])
    assert [answer.spans for answer in found.answers] == [(), ()]
    found = find_traces(answers, [str(tmp_path / "c.txt")], least_words=5)
    assert [span.text for span in found.answers[0].spans] == ["one two three four five"]


def test_a_short_answer_is_found_whole(tmp_path):
    (tmp_path / "c.txt").write_text("it stands in Oslo")
    found = find_traces([TracedAnswer("a", "in Oslo"), TracedAnswer("b", "Oslo in")],
                        [str(tmp_path / "c.txt")])  # fmt: skip
    assert [answer.share for answer in found.answers] == [1.0, 0.0]


@pytest.mark.parametrize("shard_bytes", [9_000, 40_000])
def test_a_corpus_larger_than_a_shard_gives_the_same(tmp_path, shard_bytes):
    draw = random.Random(1)
    source = corpus(tmp_path, lines=2000)
    words = (tmp_path / "novel.txt").read_text().split()
    answers = []
    for number in range(20):
        at = draw.randrange(len(words) - 40)
        answers.append(TracedAnswer(str(number), " ".join(words[at : at + 30])))
    whole, parts = (
        find_traces(answers, [source], shard_bytes=size) for size in (10**9, shard_bytes)
    )
    assert whole.shards == 1
    assert parts.shards >= (6 if shard_bytes < 40_000 else 2)
    for one, other in zip(whole.answers, parts.answers, strict=True):
        assert one.share == other.share == 1.0
        assert [(s.text, s.count) for s in one.spans] == [(s.text, s.count) for s in other.spans]


def test_shards_are_bounded(tmp_path):
    source = corpus(tmp_path, lines=3000)
    sizes = [len(shard.text) for shard in shards([source], [], shard_bytes=8000)]
    assert len(sizes) > 5
    assert max(sizes) <= 8000 + OVERLAP_BYTES


def test_compressed_files_and_folders_are_read_and_faults_are_told(tmp_path):
    with lzma.open(tmp_path / "a.txt.xz", "wt") as file:
        file.write(f"x {SENTENCE} y")
    (tmp_path / "b.txt").write_text("other words stand here")
    (tmp_path / "broken.txt.xz").write_bytes(b"not compressed")
    found = find_traces([TracedAnswer("a", SENTENCE)], [str(tmp_path)])
    assert found.share == 1.0
    assert found.answers[0].spans[0].places[0].document.endswith("a.txt.xz")
    assert any("broken.txt.xz" in reason for reason in found.unread)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskError):
        find_traces([TracedAnswer("a", SENTENCE)], [str(tmp_path / "empty")])


def test_an_answer_is_held_against_its_own_passages():
    answers = [
        TracedAnswer("a", "It was found near the old harbour.", (f"Here: {SENTENCE}.",)),
        TracedAnswer("b", "It was sold in Bergen last year.", (f"Here: {SENTENCE}.",)),
    ]
    found = find_traces(answers, [])
    assert [round(answer.passage_share, 2) for answer in found.answers] == [0.57, 0.0]
    assert found.share is None
    assert found.answers[0].passage_spans[0].places[0].document == "passage 1"
    assert loads(Traces, dumps(found)) == found


def test_chinese_needs_no_spaces(tmp_path):
    (tmp_path / "c.txt").write_text("昨天他们在港口附近的旧谷仓里找到了那盏灯。", "utf-8")
    found = find_traces(
        [TracedAnswer("a", "报道说在港口附近的旧谷仓里找到了")], [str(tmp_path / "c.txt")]
    )
    assert found.answers[0].spans[0].text == "在港口附近的旧谷仓里找到了"


def test_files_of_answers_are_known_by_their_fields(tmp_path):
    file = tmp_path / "answers.jsonl"
    rows = [{"id": 7, "answer": "yes", "context": "it says yes"}, {"answer": "no"}]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    assert is_answers(str(file))
    assert read_answers(str(file)) == [
        TracedAnswer("7", "yes", ("it says yes",)), TracedAnswer("line 2", "no"),
    ]  # fmt: skip
    documents = tmp_path / "docs.jsonl"
    documents.write_text(json.dumps({"text": "a document"}))
    assert not is_answers(str(documents))
    file.write_text('{"answer": "yes"}\n{"other": 1}')
    with pytest.raises(UserError, match="line 2, has no answer"):
        read_answers(str(file))


def test_documents_are_traced_section_by_section():
    text = ProbedText("a.md", "one two", (Section(0, 3, ("H",)), Section(4, 7)))
    assert documents_as_answers([text]) == [TracedAnswer("a.md > H", "one"),
                                            TracedAnswer("a.md", "two")]  # fmt: skip


def test_without_words_nothing_is_traced():
    assert find_traces([TracedAnswer("a", "  ")], []).lacks
    assert find_traces([], []).sentences() == [
        "Nothing was traced: there is no answer with words in it."
    ]


def test_without_a_corpus_and_passages_it_says_so():
    found = find_traces([TracedAnswer("a", "some words")], [])
    assert "no corpus is given" in found.lacks
    assert found.answers_of == 1


def test_the_longest_span_of_each_text(tmp_path):
    found = longest_spans([SENTENCE, "w1 nothing like it", "…"], [corpus(tmp_path)])
    assert found == [(11, 11), (1, 4), (0, 0)]
