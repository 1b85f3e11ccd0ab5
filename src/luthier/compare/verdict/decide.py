"""The verdict: the cheapest technique that is statistically tied with the best, and why.

The best has the highest mean score. A technique is tied with it when the paired test, after Holm's
correction, cannot tell the two apart at 5 %. The cheapest has the least outlay for one fit and the
price book's number of requests (see `costs.outlay`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from luthier.compare.comparison import TechniqueResult, Verdict
from luthier.compare.costs import Outlay, break_even, outlay
from luthier.compare.verdict.advice import advise
from luthier.compare.verdict.evidence import Evidence, best_of

ABOUT_THE_SAME = 1.05


def decide(evidence: Evidence) -> Verdict:
    """The verdict from what was measured.

    There is no pick, and `because` says why, when no technique finished, when the best is not
    clearly better than always answering the commonest label, or when nothing was right.
    """
    scored = evidence.scored
    if not scored:
        return Verdict(None, _nothing_finished(evidence.results), next_steps=advise(evidence, None))
    # Two of three seeds give an interval so wide that it is tied with anything: a technique that
    # did not finish is picked only where none did.
    scored = [result for result in scored if result.status == "finished"] or scored
    best = best_of(scored)
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
    tied = [result for result in scored if result is not best and is_tied(evidence, best, result)]
    outlays = [(result, outlay(result.cost, evidence.price)) for result in (best, *tied)]
    pick = _cheapest(outlays, evidence.prices.requests)
    plain, cached = _break_even(evidence, pick, scored)
    by_name = {result.technique: total for result, total in outlays}
    return Verdict(
        pick=pick.technique,
        because=_because(evidence, pick, best, by_name, scored),
        tied_with=tuple(r.technique for r in (best, *tied) if r is not pick),
        best=best.technique,
        break_even_requests=plain,
        break_even_requests_cached=cached,
        next_steps=advise(evidence, pick),
    )


def is_tied(evidence: Evidence, best: TechniqueResult, result: TechniqueResult) -> bool:
    """Whether the paired test cannot tell two techniques apart. Without a test, equal scores are a
    tie."""
    test = evidence.test_of(best.technique, result.technique)
    if test is None:
        return best.score.value == result.score.value
    return test.tied


def _cheapest(
    outlays: Sequence[tuple[TechniqueResult, Outlay | None]], requests: int
) -> TechniqueResult:
    """The one with the least outlay, or the best score of those within 5 % of it. `outlays` begins
    with the best; where its outlay is unknown nothing can be compared, and it is taken."""
    best, best_outlay = outlays[0]
    if best_outlay is None:
        return best
    totals = [(each.for_requests(requests), r) for r, each in outlays if each is not None]
    least = min(total for total, _ in totals)
    return best_of([result for total, result in totals if total <= ABOUT_THE_SAME * least])


def _break_even(
    evidence: Evidence, pick: TechniqueResult, scored: Sequence[TechniqueResult]
) -> tuple[int | None, int | None]:
    """After how many requests the pick has paid for its fit, compared with the best prompt: without
    and with a prefix cache. (None, None) where the pick is a prompt."""
    prompts = [result for result in scored if result.family == "prompt"]
    if not pick.trained or not prompts:
        return None, None
    reference = best_of(prompts)
    requests: list[int | None] = []
    for cached in (False, True):
        of_pick = outlay(pick.cost, evidence.price, cached=cached)
        of_prompt = outlay(reference.cost, evidence.price, cached=cached)
        if of_pick is None or of_prompt is None:
            requests.append(None)
        else:
            requests.append(break_even(of_pick, of_prompt))
    return requests[0], requests[1]


def _because(
    evidence: Evidence, pick: TechniqueResult, best: TechniqueResult,
    outlays: Mapping[str, Outlay | None], scored: Sequence[TechniqueResult],
) -> str:  # fmt: skip
    """The reasons for the pick, in sentences. `outlays` are those of the tied, by name."""
    score = f"{score_words(pick)} on {evidence.task.test_examples} test examples"
    if len(scored) == 1:
        return f"{pick.technique} is the only technique that finished: {score}."
    sentences = []
    if pick is best:
        rivals = [result for result in scored if result is not best]
        apart = [result for result in rivals if not is_tied(evidence, best, result)]
        sentences.append(f"{pick.technique} has the best score: {score}.")
        if len(apart) == len(rivals):
            sentences.append(f"It is significantly better than {_nearest(evidence, best, apart)}.")
    else:
        sentences.append(
            f"{pick.technique} scores {score}, and cannot be told from the best, "
            f"{best.technique} ({score_words(best)}): {_test_words(evidence, best, pick)}."
        )
    if len(outlays) > 1:
        sentences.append(_cost_words(evidence, pick, outlays))
    if pick is not best:
        sentences.append(f"Where the score counts more than the cost, take {best.technique}.")
    return " ".join(sentences)


def beats_chance(evidence: Evidence, result: TechniqueResult) -> bool:
    """Whether the interval of a score lies above the share of the commonest label. True where there
    is no such share, and for metrics other than accuracy."""
    chance, low = evidence.task.chance, result.score.low
    if chance is None or low is None or evidence.task.metric != "accuracy":
        return True
    return low > chance


def _nearest(evidence: Evidence, best: TechniqueResult, apart: Sequence[TechniqueResult]) -> str:
    nearest = best_of(apart)
    words = f"{nearest.technique} ({score_words(nearest)}; {_test_words(evidence, best, nearest)})"
    return words if len(apart) == 1 else f"the next, {words}, and than every other"


def _test_words(evidence: Evidence, best: TechniqueResult, result: TechniqueResult) -> str:
    test = evidence.test_of(best.technique, result.technique)
    if test is None:
        return "they score the same"
    difference = abs(test.difference)
    return f"difference {difference:.3f}, p = {test.p_adjusted:.2g} after Holm's correction"


def _cost_words(
    evidence: Evidence, pick: TechniqueResult, outlays: Mapping[str, Outlay | None]
) -> str:
    requests = evidence.prices.requests
    unit = evidence.prices.currency if evidence.price.by_token else "million tokens of compute"
    scale = 1.0 if evidence.price.by_token else 1e-6
    own = outlays[pick.technique]
    if own is None:
        return "What the tied techniques cost could not be compared: their tokens are not known."
    others = {
        name: each.for_requests(requests) * scale
        for name, each in outlays.items()
        if each is not None and name != pick.technique
    }
    if not others:
        return ""
    rival = min(others, key=lambda name: others[name])
    cost = own.for_requests(requests) * scale
    place = "the cheapest" if cost <= others[rival] else "within 5 % of the cheapest"
    return (
        f"Counting one fit and {requests:,} requests it is {place} of the tied: "
        f"{cost:.3g} {unit}, against {others[rival]:.3g} for {rival}."
    )


def score_words(result: TechniqueResult) -> str:
    """A score with its interval, for a sentence."""
    score = result.score
    words = f"{score.metric} {score.value:.3f}"
    if score.low is None or score.high is None:
        return words
    return f"{words} (95 % interval {score.low:.3f} to {score.high:.3f})"


def _nothing_finished(results: Sequence[TechniqueResult]) -> str:
    reasons = [f"{result.technique}: {result.status}, {result.reason}" for result in results]
    return f"No technique finished. {'; '.join(reasons)}" if reasons else "Nothing was asked for."
