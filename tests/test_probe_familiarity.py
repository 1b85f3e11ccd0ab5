"""Familiarity: the measures, the intervals, and what is told where nothing can be."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from luthier.errors import TaskError
from luthier.models.adaptation import Adaptation
from luthier.models.backend import TokenLogprobs
from luthier.probe.familiarity import (
    SHUFFLED_SENTENCES,
    SHUFFLED_WORDS,
    Familiarity,
)
from luthier.probe.measure_familiarity import measure_familiarity
from luthier.probe.probe_request import ProbeLimits, ProbeRequest
from luthier.probe.probed_text import ProbedText, read_texts
from luthier.probe.text_scores import MEASURES, text_scores
from luthier.probe.told_apart import area, roc, share_above, verdict
from luthier.probe.windows import CHARACTERS, cut_windows, sample_windows
from luthier.retrieval.ingest.document import Section
from luthier.serialization import dumps, loads
from tests import tiny
from tests.remembering import remembering

WORDS = [f"word{n}" for n in range(400)]


def document(seed: int, sentences: int = 12) -> str:
    draw = random.Random(seed)
    return " ".join(" ".join(draw.sample(WORDS, 9)).capitalize() + "." for _ in range(sentences))


def texts(*seeds: int) -> list[ProbedText]:
    return [ProbedText(f"d{seed}.txt", document(seed)) for seed in seeds]


READ, NEW = texts(*range(8)), texts(*range(100, 108))


def measured(model, on, against=(), **limits) -> Familiarity:
    request = ProbeRequest(
        on=("docs",), against=("newer",) if against else (), limits=ProbeLimits(**limits)
    )
    return measure_familiarity(model, request, on, against)


def test_text_that_was_read_is_more_familiar_than_text_of_the_same_kind():
    found = measured(remembering([t.text for t in READ]), READ, NEW)
    one = found.of("newer")
    assert one is not None
    assert one.verdict == "more"
    assert one.decided_by == "min-k++"
    assert one.decisive.low > 0.6
    assert one.blind.low <= 0.5 <= one.blind.high  # the words are drawn alike


def test_text_that_nobody_read_cannot_be_told():
    found = measured(remembering([document(n) for n in range(200, 208)]), READ, NEW)
    one = found.of("newer")
    assert one.verdict == "cannot tell"
    assert any("cannot tell" in sentence for sentence in found.sentences())


def test_text_that_differs_by_itself_is_said_to():
    other = [ProbedText(f"n{n}.txt", document(n).replace("word", "thing")) for n in range(8)]
    found = measured(remembering([t.text for t in READ]), READ, other)
    assert found.of("newer").blind.low > 0.5
    assert any("words alone tell the two apart" in sentence for sentence in found.sentences())


def test_shuffled_words_and_sentences_are_read_pair_by_pair():
    found = measured(remembering([t.text for t in READ]), READ)
    for name in (SHUFFLED_WORDS, SHUFFLED_SENTENCES):
        one = found.of(name)
        assert one.decided_by == "paired"
        assert one.paired.value == 1.0
        assert one.verdict == "more"
    unknown = measured(remembering(["nothing of it"]), READ)
    assert unknown.of(SHUFFLED_WORDS).verdict == "cannot tell"
    assert any("does not tell their order" in s for s in unknown.sentences())


def test_without_the_distribution_there_is_no_standardised_measure():
    found = measured(remembering([t.text for t in READ], spreads=False), READ, NEW)
    areas = {score.metric: score.value for score in found.of("newer").areas}
    assert areas["min-k++"] is None
    assert found.of("newer").decided_by == "min-k"
    assert found.of("newer").verdict == "more"


def test_a_server_without_log_probabilities_is_told():
    found = measured(remembering([], logprobs=False), READ)
    assert "gives no log-probabilities" in found.lacks
    assert found.documents == ()
    assert found.sentences() == [f"Familiarity was not measured: {found.lacks}."]


def test_one_line_documents_are_measured_and_what_they_lack_is_told():
    lines = [ProbedText(f"l{n}.txt", " ".join(WORDS[n : n + 9])) for n in range(0, 90, 9)]
    found = measured(remembering([lines[0].text]), [*lines, ProbedText("tiny.txt", "word1")])
    assert found.of(SHUFFLED_SENTENCES).lacks
    assert found.too_short == 1
    assert len(found.documents) == 10
    assert any("too short" in sentence for sentence in found.sentences())


def test_documents_of_another_language_are_told():
    greek = [ProbedText(f"g{n}.txt", document(n).replace("word", "λέξη")) for n in range(6)]
    model = remembering([t.text for t in READ])
    found = measured(model, [*READ[:2], *greek])
    foreign = {one.name for one in found.documents if one.foreign}
    assert len(foreign & {t.name for t in greek}) >= 5
    assert not foreign & {t.name for t in READ}
    assert any("another language" in sentence for sentence in found.sentences())


def test_each_document_and_each_section_has_its_own_figure():
    known, new = document(0), document(100)
    text = ProbedText(
        "both.md",
        known + "\n\n" + new,
        (
            Section(0, len(known), ("Old",)),
            Section(len(known) + 2, len(known) + 2 + len(new), ("New",)),
        ),
    )
    (one,) = measured(remembering([known]), [text]).documents
    old, fresh = one.sections
    assert (old.heading, fresh.heading) == ("Old", "New")
    assert old.bits_a_byte < fresh.bits_a_byte


def test_the_sample_keeps_its_limits_and_says_so():
    found = measured(remembering(["x"]), texts(*range(30)), documents=5, tokens=1400)
    assert len(found.documents) == 5
    assert found.documents_of == 30
    assert found.windows < found.windows_of
    assert any("of 30 documents" in sentence for sentence in found.sentences())


def test_findings_survive_the_disk():
    found = measured(remembering([t.text for t in READ]), READ, NEW)
    assert loads(Familiarity, dumps(found)) == found


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(TaskError, match="no documents"):
        list(read_texts([str(tmp_path)], []))


def test_the_measures_are_those_of_their_papers():
    values = (-1.0, -2.0, -3.0, -4.0, -10.0)
    spreads = ((-2.0, 1.0),) * 5 + ((-6.0, 4.0),)
    found = text_scores("some words", TokenLogprobs(("a",) * 6, (None, *values), (), (), spreads))
    loss, ratio, lowest, standardised = found.measures
    assert found.tokens == 5
    assert loss == pytest.approx(-4.0)
    assert ratio < 0
    assert lowest == pytest.approx(-10.0)  # one of five tokens
    assert standardised == pytest.approx(min(-2.0, (-10 + 6) / 4))
    assert found.bits_a_byte == pytest.approx(20 / math.log(2) / 10)
    assert len(found.measures) == len(MEASURES)


def test_spreads_are_the_mean_and_deviation_under_the_distribution():
    backend = tiny.backend("llama")
    text = "my card was charged twice"
    found = backend.text_logprobs([text], Adaptation())[0]
    with backend.session(Adaptation()) as session, torch.inference_mode():
        ids = torch.tensor([session.tokenizer(text).input_ids])
        logs = session.module(input_ids=ids).logits[0].float().log_softmax(-1).double()
    for row, (mean, deviation) in zip(logs, found.spreads, strict=False):
        p = row.exp()
        assert mean == pytest.approx(float((p * row).sum()), abs=2e-4)
        expected = float((p * (row - (p * row).sum()) ** 2).sum()) ** 0.5
        assert deviation == pytest.approx(expected, abs=2e-3)


def test_the_area_is_the_share_of_pairs_and_its_interval_covers():
    first, second = [3.0, 2.0, 2.0], [1.0, 2.0]
    score = area(first, second, of_first=[0, 1, 2], of_second=[0, 1])
    assert score.value == pytest.approx(5 / 6)
    rng, covered = np.random.default_rng(0), 0
    for _ in range(50):  # twenty documents of three windows each; the truth is 0.5
        of = np.repeat(np.arange(20), 3)
        one = rng.normal(size=20)[of] + rng.normal(size=60)
        other = rng.normal(size=20)[of] + rng.normal(size=60)
        found = area(one.tolist(), other.tolist(), of_first=of.tolist(), of_second=of.tolist())
        covered += found.low <= 0.5 <= found.high
    assert covered >= 43
    assert verdict(share_above([1.0, 2.0], [0.0, 3.0], of=[0, 1])) == "cannot tell"


def test_the_roc_curve_goes_from_corner_to_corner():
    points = roc([3.0, 2.0], [1.0, 0.0])
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, 1.0)
    assert (0.0, 1.0) in points


def test_windows_end_with_sentences_and_stay_inside_sections():
    text = ProbedText("a.txt", document(1, 60), (Section(0, 2000, ("A",)), Section(2000, 4000)))
    windows = cut_windows(0, text)
    assert all(len(w.text) <= CHARACTERS for w in windows)
    assert sum(w.text.endswith(".") for w in windows) >= len(windows) - 2  # the sections cut two
    drawn = sample_windows([text], documents=1, characters=1000, seed=0)
    again = sample_windows([text], documents=1, characters=1000, seed=0)
    assert drawn == again
    assert 0 < len(drawn.windows) < drawn.of
