"""Why this technique: the verdict's reasons, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.compare.comparison import TechniqueResult
from luthier.compare.costs import Outlay
from luthier.compare.plan import UNDERTRAINED_BELOW
from luthier.compare.verdict.evidence import Evidence, best_of

WORTH_SAYING = 0.005  # of the range of the score
Outlays = Sequence[tuple[TechniqueResult, Outlay | None]]


def because(
    evidence: Evidence, pick: TechniqueResult, outlays: Outlays, scored: Sequence[TechniqueResult]
) -> str:
    """The reasons for the pick. `outlays` are those of all within the tolerance, the best first."""
    score = f"{score_words(pick)} on {evidence.task.test_examples} test examples"
    if len(scored) == 1:
        sentences = [f"{pick.technique} is the only technique that finished: {score}."]
        return " ".join([*sentences, *_fits_only(scored)])
    best = outlays[0][0]
    tolerance = points(evidence.tolerance / 100.0 * unit_of(best), best)
    if pick is best:
        sentences = [f"{pick.technique} has the best score: {score}."]
        sentences += _apart(evidence, [result for result in scored if result is not best])
    else:
        below = points((best.score.value or 0.0) - (pick.score.value or 0.0), best)
        sentences = [
            f"{pick.technique} scores {score}: {below} from the best, {best.technique} "
            f"({score_words(best)}), and so within the tolerance of {tolerance}."
        ]
    sentences += _of_each_base(scored)
    if len(outlays) > 1:
        sentences.append(_costs(evidence, pick, outlays, tolerance))
    sentences += _loss(pick)
    if pick is not best:
        sentences.append(f"Where the score counts more than the cost, take {best.technique}.")
    if evidence.optimism is not None and evidence.optimism >= WORTH_SAYING * unit_of(best):
        sentences.append(
            f"The best of {len(scored)} scores flatters: on other examples that of "
            f"{best.technique} should be lower by {points(evidence.optimism, best)} or more."
        )
    return " ".join([*sentences, *_fits_only(scored)])


def untried_words(evidence: Evidence, best: TechniqueResult | None) -> str:
    """What was not trained enough to be judged, and whether it is ahead of the best that was; ""
    where everything was tried. `best` is None where nothing was."""
    untried = evidence.untried
    if not untried:
        return ""
    names = listed([f"{r.technique} ({_passes(r)}, {score_words(r)})" for r in untried])
    many = len(untried) > 1
    words = (
        f"Not tried: {names}. Less than {UNDERTRAINED_BELOW} passes over the training examples say "
        f"little about a technique, so {'these are' if many else 'this one is'} neither picked nor "
        "beaten here."
    )
    ahead = [] if best is None else [r for r in untried if best_of([best, r]) is r]
    if best is not None and ahead:
        few = f"even so few passes put {'them' if len(ahead) > 1 else 'it'} above {best.technique}"
        words += f" Try {listed([r.technique for r in ahead])} before you decide: {few}."
    return words if evidence.enough is None else f"{words} --budget {evidence.enough} is enough."


def _passes(result: TechniqueResult) -> str:
    epochs = result.epochs or 0.0
    return f"{epochs:.1f} pass" + "es" * (f"{epochs:.1f}" != "1.0")


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def points(difference: float, result: TechniqueResult) -> str:
    """A difference for a sentence: points where the score lies between 0 and 1."""
    difference = abs(difference)
    if unit_of(result) != 1.0:
        return f"{difference:.3g}"
    number = f"{100 * difference:.1f}".removesuffix(".0")
    return f"{number} point" + "s" * (number != "1")


def unit_of(result: TechniqueResult) -> float:
    """What 100 points are: 1 for a score between 0 and 1, else the score itself."""
    score = result.score
    inside = all(v is None or 0.0 <= v <= 1.0 for v in (score.value, score.low, score.high))
    return 1.0 if inside else abs(score.value or 0.0)


def score_words(result: TechniqueResult) -> str:
    """A score with its interval, for a sentence."""
    score = result.score
    words = f"{score.metric} {score.value:.3f}"
    if score.low is None or score.high is None:
        return words
    return f"{words} (95 % interval {score.low:.3f} to {score.high:.3f})"


def _apart(evidence: Evidence, rivals: Sequence[TechniqueResult]) -> list[str]:
    """That every other technique is significantly worse, where it is."""
    tests = [evidence.test_of(result.technique) for result in rivals]
    if any(test is None or test.tied for test in tests):
        return []
    nearest = best_of(rivals)
    test = evidence.test_of(nearest.technique)
    assert test is not None
    words = (
        f"{nearest.technique} ({score_words(nearest)}; difference {abs(test.difference):.3f}, "
        f"adjusted p = {test.p_adjusted:.2g})"
    )
    if len(rivals) > 1:
        words = f"the next, {words}, and than every other"
    return [f"It is significantly better than {words}."]


def _of_each_base(scored: Sequence[TechniqueResult]) -> list[str]:
    """How far each of several bases came."""
    bases = dict.fromkeys(result.base for result in scored)
    if len(bases) < 2:
        return []
    best = [(base, best_of([r for r in scored if r.base == base])) for base in bases]
    words = ", ".join(f"{base} {r.score.value:.3f} ({r.plain_name})" for base, r in best)
    return [f"The best of each base: {words}."]


def _loss(pick: TechniqueResult) -> list[str]:
    """What the pick costs in score at most."""
    if pick.bound is None:
        return []
    if pick.bound == 0.0:
        return ["With 95 % confidence no other of these is better."]
    return [
        f"With 95 % confidence it costs at most {points(pick.bound, pick)} against the best of "
        "these, whichever that truly is."
    ]


def _fits_only(scored: Sequence[TechniqueResult]) -> list[str]:
    """What one seed cannot say."""
    alone = [r.technique for r in scored if r.seeded and len(_finished(r)) == 1]
    if not alone:
        return []
    return [
        "With one seed this speaks of these fits, not of the techniques: another seed may change "
        f"the score of {', '.join(alone)}, and with it the order."
    ]


def _finished(result: TechniqueResult) -> list[object]:
    return [run for run in result.runs if run.status == "finished"]


def _costs(evidence: Evidence, pick: TechniqueResult, outlays: Outlays, tolerance: str) -> str:
    """That the pick is the cheapest, and what the next one costs."""
    requests = evidence.prices.requests
    unit, scale = {
        "money": (evidence.prices.currency, 1.0),
        "tokens": ("million tokens of compute", 1e-6),
        "FLOPs": ("teraFLOPs", 1e-12),
    }[evidence.unit]
    by_name = {result.technique: each for result, each in outlays}
    sizes = {result.technique: result.cost.artifact_bytes for result, _ in outlays}
    own = by_name[pick.technique]
    where = f"within {tolerance} of the best"
    if own is None:
        return f"What those {where} cost could not be compared: their tokens are not known."
    others = {
        name: each.for_requests(requests) * scale
        for name, each in by_name.items()
        if each is not None and name != pick.technique
    }
    if not others:
        return ""
    rival = min(others, key=lambda name: others[name])
    cost = own.for_requests(requests) * scale
    place = "the cheapest" if cost <= others[rival] else "no more than 5 % above the cheapest"
    return (
        f"Counting one fit and {requests:,} requests it is {place} of those {where}: "
        f"{cost:.3g} {unit}{_saved(sizes[pick.technique])}, against {others[rival]:.3g} for "
        f"{rival}{_saved(sizes[rival])}."
    )


def _saved(size: int | None) -> str:
    """The size of a saved adaptation, in brackets."""
    if size is None:
        return ""
    return f" ({size / 1e6:,.1f} MB saved)" if size >= 1e5 else f" ({size / 1e3:,.1f} kB saved)"
