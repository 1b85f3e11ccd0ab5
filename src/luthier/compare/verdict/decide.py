"""The verdict: the cheapest technique that is statistically tied with the best, why, and what next.

Best is the highest mean score. Tied with it is every technique that the paired tests, after Holm's
correction, do not tell from it at 5 %. Cheapest is the least outlay for one fit and the price
book's number of requests (see `costs.outlay`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.compare.comparison import CurvePoint, TaskFacts, TechniqueResult, Verdict
from luthier.compare.costs import Outlay, PriceBook, break_even, outlay
from luthier.compare.costs.prices import Price
from luthier.compare.verdict.advice import advise, best_of
from luthier.records import PairedTest


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on. `tests` holds a paired test of every two finished rows."""

    task: TaskFacts
    rows: tuple[TechniqueResult, ...]
    tests: tuple[PairedTest, ...]
    curve: tuple[CurvePoint, ...]
    book: PriceBook
    price: Price

    def test_of(self, one: str, other: str) -> PairedTest | None:
        """The test of two techniques, whichever stands first."""
        return next((t for t in self.tests if {t.first, t.second} == {one, other}), None)


ABOUT_THE_SAME = 1.05


def decide(evidence: Evidence) -> Verdict:
    """Apply the rules. There is no pick, and `because` says why, when no technique finished, or
    when the best is no better than always answering the commonest label, or got nothing right.
    """
    rated = [row for row in evidence.rows if row.score.value is not None and row.part_of is None]
    if not rated:
        return Verdict(None, _nothing(evidence.rows), next_steps=advise(evidence, None))
    # Two seeds of three leave an interval so wide that it is tied with anything: what did not
    # finish is picked only where nothing did.
    rated = [row for row in rated if row.status == "finished"] or rated
    best = best_of(rated)
    if not beats_chance(evidence, best):
        return Verdict(
            None,
            f"No technique is clearly better than always answering the commonest label "
            f"({evidence.task.chance:.3f}). The best is {best.technique}: {score_words(best)} "
            f"on {evidence.task.test_examples} test examples.",
            best=best.technique,
            next_steps=advise(evidence, None),
        )
    if best.score.higher_is_better and best.score.value == 0:
        return Verdict(
            None,
            f"No technique got anything right: {evidence.task.metric} is 0 for each of them on "
            f"{evidence.task.test_examples} test examples, and there is nothing to choose.",
            best=best.technique,
            next_steps=advise(evidence, None),
        )
    tied = [row for row in rated if row is not best and is_tied(evidence, best, row)]
    weighed = [(row, outlay(row.cost, evidence.price)) for row in (best, *tied)]
    pick = _cheapest(weighed, evidence.book.requests)
    plain, cached = _break_even(evidence, pick, rated)
    outlays = {row.technique: spent for row, spent in weighed}
    return Verdict(
        pick=pick.technique,
        because=_because(evidence, pick, best, outlays, rated),
        tied_with=tuple(r.technique for r in (best, *tied) if r is not pick),
        best=best.technique,
        break_even_requests=plain,
        break_even_requests_cached=cached,
        next_steps=advise(evidence, pick),
    )


def is_tied(evidence: Evidence, best: TechniqueResult, row: TechniqueResult) -> bool:
    """Whether the paired test cannot tell them apart. Without a test, equal scores are a tie."""
    test = evidence.test_of(best.technique, row.technique)
    if test is None:
        return best.score.value == row.score.value
    return test.tied


def _cheapest(
    weighed: Sequence[tuple[TechniqueResult, Outlay | None]], requests: int
) -> TechniqueResult:
    """The least outlay, and the best score of those within 5 % of it. Where the best's own outlay
    is not known, there is nothing to weigh: it is the best."""
    if any(spent is None for _, spent in weighed[:1]):
        return weighed[0][0]
    known = [(spent.for_requests(requests), row) for row, spent in weighed if spent is not None]
    least = min(total for total, _ in known)
    return best_of([row for total, row in known if total <= ABOUT_THE_SAME * least])


def _break_even(
    evidence: Evidence, pick: TechniqueResult, rated: Sequence[TechniqueResult]
) -> tuple[int | None, int | None]:
    """Against the best prompt, without and with a prefix cache. (None, None) for a prompt."""
    prompts = [row for row in rated if row.family == "prompt"]
    if not pick.trained or not prompts:
        return None, None
    reference = best_of(prompts)
    found: list[int | None] = []
    for cached in (False, True):
        ours = outlay(pick.cost, evidence.price, cached=cached)
        theirs = outlay(reference.cost, evidence.price, cached=cached)
        found.append(None if ours is None or theirs is None else break_even(ours, theirs))
    return found[0], found[1]


def _because(
    evidence: Evidence, pick: TechniqueResult, best: TechniqueResult, weighed: Mapping[str, Outlay | None],
    rated: Sequence[TechniqueResult],
) -> str:  # fmt: skip
    figure = f"{score_words(pick)} on {evidence.task.test_examples} test examples"
    if len(rated) == 1:
        return f"{pick.technique} is the only technique that finished: {figure}."
    sentences = []
    if pick is best:
        rivals = [row for row in rated if row is not best]
        apart = [row for row in rivals if not is_tied(evidence, best, row)]
        sentences.append(f"{pick.technique} has the best score: {figure}.")
        if len(apart) == len(rivals):
            sentences.append(f"It is significantly better than {_nearest(evidence, best, apart)}.")
    else:
        sentences.append(
            f"{pick.technique} scores {figure}, and cannot be told from the best, "
            f"{best.technique} ({score_words(best)}): {_test_words(evidence, best, pick)}."
        )
    if len(weighed) > 1:
        sentences.append(_cost_words(evidence, pick, weighed))
    if pick is not best:
        sentences.append(f"Where the score counts more than the cost, take {best.technique}.")
    return " ".join(sentences)


def beats_chance(evidence: Evidence, row: TechniqueResult) -> bool:
    """Whether the interval of a row lies above the share of the commonest label; True where there
    is no such share, or another metric is in use."""
    chance, low = evidence.task.chance, row.score.low
    if chance is None or low is None or evidence.task.metric != "accuracy":
        return True
    return low > chance


def _nearest(evidence: Evidence, best: TechniqueResult, apart: Sequence[TechniqueResult]) -> str:
    nearest = best_of(apart)
    words = f"{nearest.technique} ({score_words(nearest)}; {_test_words(evidence, best, nearest)})"
    return words if len(apart) == 1 else f"the next, {words}, and than every other"


def _test_words(evidence: Evidence, best: TechniqueResult, row: TechniqueResult) -> str:
    test = evidence.test_of(best.technique, row.technique)
    if test is None:
        return "they score the same"
    difference = abs(test.difference)
    return f"difference {difference:.3f}, p = {test.p_adjusted:.2g} after Holm's correction"


def _cost_words(
    evidence: Evidence, pick: TechniqueResult, weighed: Mapping[str, Outlay | None]
) -> str:
    requests = evidence.book.requests
    unit = evidence.book.currency if evidence.price.by_token else "million tokens of compute"
    scale = 1.0 if evidence.price.by_token else 1e-6
    mine = weighed[pick.technique]
    if mine is None:
        return "What the tied techniques cost could not be weighed: their tokens are not known."
    others = {
        name: spent.for_requests(requests) * scale
        for name, spent in weighed.items()
        if spent is not None and name != pick.technique
    }
    if not others:
        return ""
    rival = min(others, key=lambda name: others[name])
    cost = mine.for_requests(requests) * scale
    place = "the cheapest" if cost <= others[rival] else "within 5 % of the cheapest"
    return (
        f"Counting one fit and {requests:,} requests it is {place} of the tied: "
        f"{cost:.3g} {unit}, against {others[rival]:.3g} for {rival}."
    )


def score_words(row: TechniqueResult) -> str:
    """A score with its interval, as it stands in a sentence."""
    score = row.score
    words = f"{score.metric} {score.value:.3f}"
    if score.low is None or score.high is None:
        return words
    return f"{words} (95 % interval {score.low:.3f} to {score.high:.3f})"


def _nothing(rows: Sequence[TechniqueResult]) -> str:
    reasons = [f"{row.technique}: {row.status}, {row.reason}" for row in rows]
    return f"No technique finished. {'; '.join(reasons)}" if reasons else "Nothing was asked for."
