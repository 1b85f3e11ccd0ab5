"""Documents held against matched text: which of the two the base finds likelier."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.probe.blind import blind_area
from luthier.probe.familiarity import MatchedText
from luthier.probe.text_scores import MEASURES, TextScores
from luthier.probe.told_apart import area, roc, share_above, verdict
from luthier.probe.windows import TextWindow
from luthier.records import Score

Pairs = tuple[list[TextScores], list[TextScores]]


def against_shuffled(
    name: str, shuffled: Sequence[str | None], pairs: Pairs, of: Sequence[int]
) -> MatchedText:
    """A shuffled window has the same tokens but for a few: its likelihood decides, pair by pair."""
    kept = [document for document, text in zip(of, shuffled, strict=True) if text is not None]
    if not kept:
        return MatchedText(
            name, 0, 0, lacks="no window has enough of them to be shuffled (one-line documents?)"
        )
    own, other = pairs
    firsts, seconds = _losses(own), _losses(other)
    paired = share_above(firsts, seconds, of=kept)
    return MatchedText(
        name,
        windows=len(kept),
        documents=len(set(kept)),
        areas=_areas(own, other, kept, kept, matched=True),
        decided_by="paired",
        verdict=verdict(paired),
        paired=paired,
        roc=roc(firsts, seconds),
    )


def against_named(
    name: str,
    windows: Sequence[TextWindow], own: Sequence[TextScores],
    others: Sequence[TextWindow], other: Sequence[TextScores],
) -> MatchedText:  # fmt: skip
    """The documents against text that the user names: a measure decides, over all pairs."""
    if not others:
        return MatchedText(name, 0, 0, lacks="it holds no stretch of 40 characters")
    of_first, of_second = [w.document for w in windows], [w.document for w in others]
    areas = _areas(own, other, of_first, of_second, matched=False)
    decided = next(area for area in reversed(areas) if area.value is not None)
    place = MEASURES.index(decided.metric)
    return MatchedText(
        name,
        windows=len(others),
        documents=len(set(of_second)),
        areas=areas,
        decided_by=decided.metric,
        verdict=verdict(decided),
        blind=blind_area(
            [w.text for w in windows], [w.text for w in others],
            of_first=of_first, of_second=of_second,
        ),
        roc=roc(
            [s.measures[place] or 0.0 for s in own], [s.measures[place] or 0.0 for s in other]
        ),
    )  # fmt: skip


def order_wins(shuffled: Sequence[str | None], pairs: Pairs) -> list[bool | None]:
    """For each window whether its own order of words is the likelier one."""
    found = iter(zip(_losses(pairs[0]), _losses(pairs[1]), strict=True))
    wins: list[bool | None] = []
    for text in shuffled:
        if text is None:
            wins.append(None)
            continue
        own, other = next(found)
        wins.append(own > other)
    return wins


def _areas(
    own: Sequence[TextScores], other: Sequence[TextScores],
    of_own: Sequence[int], of_other: Sequence[int], *, matched: bool,
) -> tuple[Score, ...]:  # fmt: skip
    areas = []
    for place, measure in enumerate(MEASURES):
        first = [s.measures[place] for s in own]
        second = [s.measures[place] for s in other]
        if None in first or None in second:
            areas.append(Score(measure, None))
            continue
        areas.append(
            area(
                [x for x in first if x is not None],
                [x for x in second if x is not None],
                of_first=of_own, of_second=of_other, matched=matched, metric=measure,
            )
        )  # fmt: skip
    return tuple(areas)


def _losses(scores: Sequence[TextScores]) -> list[float]:
    return [s.measures[0] or 0.0 for s in scores]
