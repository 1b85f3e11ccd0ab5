"""Successive halving: many candidates on few examples, the better half on twice as many, and so on.

The fixed-budget bandit of arXiv:1502.07943 (section 3), with examples in place of epochs; all
candidates see the same examples, so differences between them are paired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from luthier.techniques.search.calibration import Calibration
from luthier.techniques.search.evaluator import CandidateEvaluator, Trial
from luthier.techniques.search.token_budget import estimate_tokens

PROBED = 4  # examples that tell what sharing a backend does
FEWEST = 16  # examples a candidate is first judged on
ENOUGH = 8  # candidates that are worth looking at a quarter of the examples for
A_FEW = 3  # candidates that are worth looking at as few as `FEWEST` for
SIMILAR_COST = 1.1
NOT_SEARCHED = (
    "Nothing was evaluated on dev, for want of budget or of dev examples: "
    "this is the first candidate."
)


@dataclass(frozen=True, slots=True)
class HalvingResult:
    """What was chosen, its dev score (None: never evaluated), and sentences for the record."""

    trial: Trial
    calibration: Calibration
    dev_score: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HalvingSchedule:
    """`counts[r]` candidates see `sizes[r]` examples in round r."""

    counts: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, candidates: int, examples: int, *, survivors: int) -> HalvingSchedule:
        """Rounds that double the examples and leave `survivors` candidates for all of them."""
        sizes = [examples]
        while sizes[0] // 2 >= FEWEST and candidates > survivors * 2 ** (len(sizes) - 1):
            sizes.insert(0, sizes[0] // 2)
        last = min(survivors, candidates)
        steps = max(1, len(sizes) - 1)
        kept = (last / candidates) ** (1 / steps)  # share of the candidates that each round keeps
        counts = [max(last, round(candidates * kept**step)) for step in range(len(sizes))]
        return cls(tuple(counts), tuple(sizes))

    @property
    def answers(self) -> int:
        """Answers in all."""
        steps = (b - a for a, b in pairwise((0, *self.sizes)))
        return sum(count * step for count, step in zip(self.counts, steps, strict=True))


def halve(
    evaluator: CandidateEvaluator,
    trials: Sequence[Trial],
    *,
    survivors: int = 2,
    keep: float = 0.0,
    least_kept: float | None = None,
) -> list[Trial]:
    """Run the candidates, which come in order of promise, and return those left, best first.

    `survivors` candidates see every example. Where the budget, less `keep`, does not pay for that,
    fewer do, or fewer examples are looked at, or the last candidates are left out. Where it does
    not even pay for comparing two, only `least_kept` is kept.
    """
    _probe(evaluator, trials)
    schedule = affordable(evaluator, trials, survivors=survivors, keep=keep)
    if schedule.counts[0] < min(2, len(trials)) and least_kept is not None:
        keep = least_kept
        schedule = affordable(evaluator, trials, survivors=survivors, keep=keep)
    alive = list(trials[: schedule.counts[0]])
    evaluator.planned = len(evaluator.history) + sum(schedule.counts)
    for count, size in zip(schedule.counts, schedule.sizes, strict=True):
        grown = [t for t in alive[:count] if evaluator.grow(t, size, keep=keep)]
        if not grown:
            break
        alive = promising(grown, on=size)
    return [t for t in ranked(alive) if t.scores]


def _probe(evaluator: CandidateEvaluator, trials: Sequence[Trial]) -> None:
    """Learn from one small batch whether this backend computes a common beginning only once."""
    if evaluator.token_budget.tokens is None or evaluator.token_budget.share_known:
        return
    for trial in trials:
        cost = estimate_tokens(trial.model, evaluator.examples[:PROBED])
        if cost.apart > 1.2 * cost.shared:
            evaluator.grow(trial, PROBED)
            return


def affordable(
    evaluator: CandidateEvaluator, trials: Sequence[Trial], *, survivors: int, keep: float
) -> HalvingSchedule:
    """The most thorough schedule that the budget pays for, with `ENOUGH` candidates if it can.

    A choice among a few on few examples beats no choice: where requests are long, examples give way
    down to `FEWEST`.
    """
    examples = len(evaluator.examples)
    asked = [estimate_tokens(t.model, evaluator.examples[len(t.answers) :]) for t in trials]
    each = np.cumsum([evaluator.token_budget.price(c) for c in asked]) / np.arange(
        1, len(trials) + 1
    )
    by_evaluation = evaluator.token_budget.tokens is None and evaluator.token_budget.seconds is None

    def pays(schedule: HalvingSchedule) -> bool:
        if by_evaluation:
            return sum(schedule.counts) <= evaluator.token_budget.left - keep
        share = schedule.answers / max(examples, 1)
        return float(each[schedule.counts[0] - 1]) * share <= evaluator.token_budget.left - keep

    least = min(FEWEST, examples)
    best, found = HalvingSchedule((1,), (least,)), 0
    for finalists, divisor in ((survivors, 1), (1, 1), (1, 2), (1, 4), (1, 8), (1, 16)):
        if found >= min(ENOUGH if divisor <= 4 else A_FEW, len(trials)):
            break
        seen = max(least, examples // divisor)
        for count in range(len(trials), found, -1):
            schedule = HalvingSchedule.of(count, seen, survivors=finalists)
            if pays(schedule):
                best, found = schedule, count
                break
    return best


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Those that saw more examples first, then by score, then by clarity, then as they came."""
    return sorted(trials, key=lambda t: (-len(t.answers), *_standing(t, len(t.answers))))


def promising(trials: Sequence[Trial], *, on: int) -> list[Trial]:
    """By place in score and place in clarity together, on the first `on` examples, best first.

    On a few examples many scores are equal by chance, and clarity, which no threshold coarsens,
    varies less; without clarity it is the order of the scores.
    """
    standing = {id(t): _standing(t, on) for t in trials}
    scores = sorted(s for s, _ in standing.values())
    clarities = sorted(c for _, c in standing.values())

    def place(trial: Trial) -> tuple[float, float]:
        score, clarity = standing[id(trial)]
        return scores.index(score) + clarities.index(clarity), score

    return sorted(trials, key=place)


def _standing(trial: Trial, on: int) -> tuple[float, float]:
    """Score and clarity on the first `on` examples, the lower the better."""
    if not trial.scores:
        return (0.0, 0.0)
    calibration, mean = trial.best_on(on)
    clarity = trial.clarity.get(calibration) or [0.0]
    return (-mean, -float(np.mean(clarity[:on])))


def close_to_best(trials: Sequence[Trial], *, errors: float) -> list[Trial]:
    """Of trials in rank order, the first and those within `errors` standard errors of it."""
    best = trials[0]
    if not best.scores:
        return list(trials[:1])
    own = best.scores[best.best[0]]
    return [
        t
        for t in trials
        if len(t.answers) == len(own) and _within(own, t.scores[t.best[0]], errors=errors)
    ]


def choose(trials: Sequence[Trial]) -> HalvingResult:
    """The cheapest within one standard error of the best, and the best among those of like cost.

    The largest of many noisy dev scores is too high (selection bias); a candidate whose paired
    difference from the best is below its standard error is taken to be no worse (the
    one-standard-error rule, Breiman et al. 1984, section 3.4.3). Only candidates that saw as many
    examples as any compete. Where nothing was evaluated it is the first candidate, and the note
    says so.
    """
    most = max(len(t.answers) for t in trials)
    if most == 0:
        return HalvingResult(trials[0], "none", None, (NOT_SEARCHED,))
    rows = [(t, c) for t in trials if len(t.answers) == most for c in t.scores]
    means = [float(np.mean(t.scores[c])) for t, c in rows]
    best = int(np.argmax(means))
    close = [i for i, row in enumerate(rows) if _no_worse(rows[best], row)]
    cheapest = min(rows[i][0].tokens_per_request for i in close)
    rivals = [i for i in close if rows[i][0].tokens_per_request <= SIMILAR_COST * cheapest]
    chosen = max(rivals, key=lambda i: means[i])
    trial, calibration = rows[chosen]
    note = (
        f"Chosen on {most} dev examples among {len(rows)} variants that saw all of them: the "
        "cheapest within one standard error of the best dev score. A dev score that was searched "
        "for is optimistic; the test score is the one to believe."
    )
    notes = [note]
    if chosen != best:
        notes.append(
            f"The best dev score was {means[best]:.3f} ({_told(*rows[best])}); "
            f"chosen was {means[chosen]:.3f} ({_told(trial, calibration)})."
        )
    return HalvingResult(trial, calibration, means[chosen], tuple(notes))


def _told(trial: Trial, calibration: Calibration) -> str:
    tokens = f"{trial.tokens_per_request:.0f} tokens a request"
    return f"{trial.name}, calibration {calibration}, {tokens}"


def _no_worse(best: tuple[Trial, Calibration], other: tuple[Trial, Calibration]) -> bool:
    """Within one standard error in points and, where there is, in clarity, which shows more."""
    (a, calibration_a), (b, calibration_b) = best, other
    if not _within(a.scores[calibration_a], b.scores[calibration_b]):
        return False
    clear_a, clear_b = a.clarity.get(calibration_a), b.clarity.get(calibration_b)
    return clear_a is None or clear_b is None or _within(clear_a, clear_b)


def _within(best: Sequence[float], other: Sequence[float], *, errors: float = 1.0) -> bool:
    """Whether the mean paired difference is at most `errors` of its standard errors."""
    difference = np.array(best) - np.array(other)
    if len(difference) < 2:
        return bool(difference.sum() <= 0)
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return bool(difference.mean() <= errors * error)
