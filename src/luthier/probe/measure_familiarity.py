"""How familiar are documents to a base?

A likelihood says little by itself: it is held against matched text. The shuffled words and
sentences of the documents tell whether the base knows their language and follows their order; text
that the user names (of the same kind, and written after the base) tells whether it has met them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.context import report_progress
from luthier.models.model import Model
from luthier.probe.familiarity import (
    SHUFFLED_SENTENCES,
    SHUFFLED_WORDS,
    DocumentFamiliarity,
    Familiarity,
    SectionFamiliarity,
    Surprise,
)
from luthier.probe.matched_text import Pairs, against_named, against_shuffled, order_wins
from luthier.probe.probe_request import ProbeRequest
from luthier.probe.probed_text import ProbedText
from luthier.probe.shuffles import joined, shuffled_sentences, shuffled_words
from luthier.probe.text_scores import TextScores, compressed_bytes, score_texts
from luthier.probe.windows import TextWindow, WindowSample, sample_windows
from luthier.records import Capability

CHARACTERS_A_TOKEN = 3
READINGS = 3  # of each window: as it is, its words shuffled, its sentences shuffled
BATCH = 64
ROOM = 0.8  # of the context, for a window: its shuffled words may be more tokens
SHOWN = 5  # of the most surprising windows


def measure_familiarity(
    model: Model, request: ProbeRequest, texts: Sequence[ProbedText], against: Sequence[ProbedText]
) -> Familiarity:
    """The familiarity of `texts`, against their shuffled forms and, where given, `against`."""
    if Capability.LOGPROBS not in model.capabilities:
        return Familiarity(
            lacks=f"{model.backend.name} gives no log-probabilities, and familiarity is read from "
            "them: a local model, or a server with /completions and echo, gives them"
        )
    if model.backend.facts.encoder_decoder:
        return Familiarity(
            lacks=f"{model.backend.name} reads a text before it writes one, and gives no "
            "likelihood of what it reads"
        )
    sample = _sample(model, request, texts, READINGS + bool(against))
    if not sample.windows:
        return Familiarity(
            lacks="no document holds a stretch of 40 characters",
            documents_of=len(texts),
            too_short=sample.too_short,
        )
    others = _sample(model, request, against, READINGS + 1).windows if against else ()
    plain = [window.text for window in sample.windows]
    words = [shuffled_words(text, request.seed + n) for n, text in enumerate(plain)]
    mixed = [shuffled_sentences(text, request.seed + n) for n, text in enumerate(plain)]
    reader = _WindowReader(model, [plain, *_twins(plain, words, True), *_twins(plain, mixed, False),
                             [window.text for window in others]])  # fmt: skip
    own, word_pairs, sentence_pairs, other = reader.read()
    of = [window.document for window in sample.windows]
    matched = [
        against_shuffled(SHUFFLED_WORDS, words, word_pairs, of),
        against_shuffled(SHUFFLED_SENTENCES, mixed, sentence_pairs, of),
    ]
    if against:
        matched.append(
            against_named(", ".join(request.against), sample.windows, own, others, other)
        )
    order = order_wins(words, word_pairs)
    documents = _documents(texts, sample.windows, own, order)
    ranked = sorted(range(len(own)), key=lambda n: -own[n].bits_a_byte)
    return Familiarity(
        against=tuple(matched),
        documents=documents,
        surprises=tuple(
            Surprise(texts[of[n]].name, sample.windows[n].heading, plain[n], own[n].bits_a_byte)
            for n in ranked[:SHOWN]
        ),
        bits_a_byte=_bits(own),
        zlib_bits_a_byte=_zlib_bits(plain),
        windows=len(plain),
        windows_of=sample.of,
        documents_of=sample.documents_of,
        too_short=sample.too_short,
        tokens=sum(scores.tokens for scores in own),
    )


def _sample(
    model: Model, request: ProbeRequest, texts: Sequence[ProbedText], readings: int
) -> WindowSample:
    """As many windows as the limits and the base's speed allow."""
    tokens, speed = request.limits.tokens, model.backend.tokens_per_second()
    if speed is not None:
        tokens = min(tokens, max(500, int(speed * request.limits.seconds / readings)))
    drawn = sample_windows(
        texts,
        documents=request.limits.documents,
        characters=tokens * CHARACTERS_A_TOKEN,
        seed=request.seed,
    )
    return replace(drawn, windows=tuple(_fitting(model, window) for window in drawn.windows))


def _fitting(model: Model, window: TextWindow) -> TextWindow:
    """The window, or as much of its beginning as the base's context holds, shuffled too."""
    limit = model.backend.facts.context_length
    text = window.text
    while limit is not None and model.backend.count_tokens(text) > ROOM * limit and len(text) > 1:
        text = text[: len(text) * 2 // 3]
    return replace(window, text=text) if len(text) < len(window.text) else window


def _twins(
    plain: Sequence[str], shuffled: Sequence[str | None], words: bool
) -> tuple[list[str], list[str]]:
    """Windows that can be shuffled, joined in their own order, and their shuffled forms."""
    kept = [(text, other) for text, other in zip(plain, shuffled, strict=True) if other is not None]
    return [joined(text, words=words) for text, _ in kept], [other for _, other in kept]


class _WindowReader:
    """Reads all texts of a probe in batches, and tells how far it is."""

    def __init__(self, model: Model, groups: Sequence[Sequence[str]]) -> None:
        self.model, self.groups = model, groups

    def read(self) -> tuple[list[TextScores], Pairs, Pairs, list[TextScores]]:
        """The scores of the windows, of both kinds of pairs, and of the named text."""
        texts = [text for group in self.groups for text in group]
        scores: list[TextScores] = []
        for start in range(0, len(texts), BATCH):
            report_progress(start, len(texts), f"{start} of {len(texts)} texts read")
            scores += score_texts(self.model, texts[start : start + BATCH])
        found, at = [], 0
        for group in self.groups:
            found.append(scores[at : at + len(group)])
            at += len(group)
        own, words, words_shuffled, mixed, mixed_shuffled, other = found
        return own, (words, words_shuffled), (mixed, mixed_shuffled), other


def _documents(
    texts: Sequence[ProbedText], windows: Sequence[TextWindow],
    scores: Sequence[TextScores], order: Sequence[bool | None],
) -> tuple[DocumentFamiliarity, ...]:  # fmt: skip
    members: dict[int, list[int]] = {}
    for number, window in enumerate(windows):
        members.setdefault(window.document, []).append(number)
    return tuple(
        DocumentFamiliarity(
            texts[document].name,
            windows=len(inside),
            tokens=sum(scores[n].tokens for n in inside),
            bits_a_byte=_bits([scores[n] for n in inside]),
            zlib_bits_a_byte=_zlib_bits([windows[n].text for n in inside]),
            tokens_a_word=sum(scores[n].tokens for n in inside)
            / max(1, sum(len(windows[n].text.split()) for n in inside)),
            order=_share([order[n] for n in inside]),
            sections=_sections(inside, windows, scores, order),
        )
        for document, inside in members.items()
    )


def _sections(
    inside: Sequence[int], windows: Sequence[TextWindow],
    scores: Sequence[TextScores], order: Sequence[bool | None],
) -> tuple[SectionFamiliarity, ...]:  # fmt: skip
    members: dict[int, list[int]] = {}
    for number in inside:
        members.setdefault(windows[number].section, []).append(number)
    return tuple(
        SectionFamiliarity(
            windows[some[0]].heading,
            windows=len(some),
            bits_a_byte=_bits([scores[n] for n in some]),
            order=_share([order[n] for n in some]),
        )
        for some in members.values()
    )


def _share(wins: Sequence[bool | None]) -> float | None:
    known = [win for win in wins if win is not None]
    return sum(known) / len(known) if known else None


def _bits(scores: Sequence[TextScores]) -> float:
    whole = sum(s.characters_in_bytes for s in scores)
    return sum(s.bits_a_byte * s.characters_in_bytes for s in scores) / max(1, whole)


def _zlib_bits(texts: Sequence[str]) -> float:
    whole = "\n".join(texts)
    return 8.0 * compressed_bytes(whole) / max(1, len(whole.encode("utf-8", "replace")))
