"""The verdict: the cheapest technique within a stated tolerance of the best, and why.

The best has the highest mean score. Whoever is at most `Evidence.tolerance` points below it is good
enough, and the cheapest of these is the pick: the one with the least outlay for one fit and the
price book's number of requests (see `costs.outlay`). How far it may be below the truly best,
whatever that is, is a bound with 95 % confidence (`scoring.statistics.with_best`).

Tests decide nothing here: the cheapest of all that cannot be told from the best is often far below
it, and the more so the fewer the examples are.

An undertrained technique was not tried: it is neither the best nor the pick, and nobody is better
than it. Where its unfinished fit is ahead all the same, the reasons say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from luthier.compare.comparison import TechniqueResult
from luthier.compare.costs import Outlay, break_even
from luthier.compare.verdict.advice import advise
from luthier.compare.verdict.evidence import Evidence, best_of, tried
from luthier.compare.verdict.reasons import because, score_words, unit_of, untried_words
from luthier.compare.verdict_record import Verdict
from luthier.scoring.judges.judge_agreement import JUDGED
from luthier.scoring.statistics.with_best import COMMONEST

ABOUT_THE_SAME = 1.05


def decide(evidence: Evidence) -> Verdict:
    """The verdict from what was measured; where a judge made the scores, how often it agrees with
    people stands in it."""
    verdict = _by_scores(evidence)
    notes = (n for result in evidence.results for run in result.runs for n in run.notes)
    judged = next((note for note in notes if note.startswith(JUDGED)), None)
    if judged is None or verdict.best is None:
        return verdict
    return replace(verdict, because=f"{verdict.because} {judged}")


def _by_scores(evidence: Evidence) -> Verdict:
    """There is no pick, and `because` says why, when no technique finished or none was trained
    enough, when the best is not clearly better than always answering the commonest label, or when
    nothing was right.
    """
    everything = evidence.scored
    if not everything:
        return Verdict(None, _nothing_finished(evidence.results), next_steps=advise(evidence, None))
    scored = tried(everything)
    best = best_of(scored or everything)
    untried = untried_words(evidence, best if scored else None)
    reason = _no_pick(evidence, best) if scored else "No technique has been tried yet."
    if reason is not None:
        return Verdict(
            None,
            reason,
            best=best.technique,
            next_steps=advise(evidence, None),
            tolerance=evidence.tolerance,
            optimism=evidence.optimism if scored else None,
            untried=tuple(result.technique for result in evidence.untried),
            not_tried=untried,
            enough=evidence.enough,
            cost_unit=evidence.unit,
        )
    rivals = [result for result in scored if result is not best]
    enough = [best, *(r for r in rivals if gap(best, r) <= tolerance_of(evidence, best) + 1e-9)]
    outlays = [(result, evidence.outlay(result)) for result in enough]
    pick = _cheapest(outlays, evidence.prices.requests)
    plain, cached = _break_even(evidence, pick, scored)
    return Verdict(
        pick=pick.technique,
        because=because(evidence, pick, outlays, scored),
        tied_with=tuple(r.technique for r in (best, *_tied(evidence, rivals)) if r is not pick),
        best=best.technique,
        break_even_requests=plain,
        break_even_requests_cached=cached,
        next_steps=advise(evidence, pick),
        tolerance=evidence.tolerance,
        bound=pick.bound,
        optimism=evidence.optimism,
        untried=tuple(result.technique for result in evidence.untried),
        not_tried=untried,
        enough=evidence.enough,
        cost_unit=evidence.unit,
    )


def gap(best: TechniqueResult, result: TechniqueResult) -> float:
    """How far a result is below the best, in units of the metric; never less than 0."""
    return abs((best.score.value or 0.0) - (result.score.value or 0.0))


def tolerance_of(evidence: Evidence, best: TechniqueResult) -> float:
    """The tolerance in units of the metric (see `Options.tolerance`)."""
    return evidence.tolerance / 100.0 * unit_of(best)


def _tied(evidence: Evidence, rivals: Sequence[TechniqueResult]) -> list[TechniqueResult]:
    """Those that the tests cannot tell from the best."""
    tests = [(result, evidence.test_of(result.technique)) for result in rivals]
    return [result for result, test in tests if test is not None and test.tied]


def _no_pick(evidence: Evidence, best: TechniqueResult) -> str | None:
    """Why nothing can be recommended; None where something can."""
    count = f"on {evidence.task.test_examples} test examples"
    test = evidence.test_of(COMMONEST)
    if test is not None and (test.tied or test.better == COMMONEST):
        return (
            f"No technique is clearly better than always answering the commonest label "
            f"({evidence.task.chance:.3f}; p = {test.p_adjusted:.2g}). The best is "
            f"{best.technique}: {score_words(best)} {count}."
        )
    if best.score.higher_is_better and best.score.value == 0:
        return (
            f"No technique got anything right: {evidence.task.metric} is 0 for each of them "
            f"{count}, and there is nothing to choose."
        )
    return None


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
        of_pick = evidence.outlay(pick, cached=cached)
        of_prompt = evidence.outlay(reference, cached=cached)
        if of_pick is None or of_prompt is None:
            requests.append(None)
        else:
            requests.append(break_even(of_pick, of_prompt))
    return requests[0], requests[1]


def _nothing_finished(results: Sequence[TechniqueResult]) -> str:
    reasons = [f"{result.technique}: {result.status}, {result.reason}" for result in results]
    return f"No technique finished. {'; '.join(reasons)}" if reasons else "Nothing was asked for."
