"""Successive halving: many candidates on few examples, the better half on twice as many, and so on.

This is the fixed-budget bandit of arXiv:1502.07943 (section 3), with examples in place of epochs.
All candidates see the same examples, so differences between them are paired.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from luthier.techniques.search.calibration import Calibration
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.token_budget import estimate_tokens

PROBE_EXAMPLES = 4  # enough to see whether a backend computes what prompts share only once
MIN_EXAMPLES = 16  # in the first round
ENOUGH_CANDIDATES = 8  # for so many, a quarter of the examples will do
FEW_CANDIDATES = 3  # for so many, `MIN_EXAMPLES` will do
SIMILAR_COST = 1.1
NOT_SEARCHED = (
    "Nothing was evaluated on dev, for want of budget or of dev examples: "
    "this is the first candidate."
)


@dataclass(frozen=True, slots=True)
class HalvingResult:
    """The winner, its dev score (None: never evaluated), and sentences for the record."""

    candidate: Candidate
    calibration: Calibration
    dev_score: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HalvingSchedule:
    """In round r, `counts[r]` candidates are scored on `sizes[r]` examples."""

    counts: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, candidates: int, examples: int, *, survivors: int) -> HalvingSchedule:
        """Rounds that double the examples and leave `survivors` candidates for all of them."""
        sizes = [examples]
        while sizes[0] // 2 >= MIN_EXAMPLES and candidates > survivors * 2 ** (len(sizes) - 1):
            sizes.insert(0, sizes[0] // 2)
        last = min(survivors, candidates)
        steps = max(1, len(sizes) - 1)
        kept = (last / candidates) ** (1 / steps)  # share of the candidates that each round keeps
        counts = [max(last, round(candidates * kept**step)) for step in range(len(sizes))]
        return cls(tuple(counts), tuple(sizes))

    @property
    def answers(self) -> int:
        """The number of answers in all rounds together."""
        steps = (b - a for a, b in pairwise((0, *self.sizes)))
        return sum(count * step for count, step in zip(self.counts, steps, strict=True))


def successive_halving(
    evaluator: CandidateEvaluator,
    candidates: Sequence[Candidate],
    *,
    survivors: int = 2,
    reserve: float = 0.0,
    least_reserve: float | None = None,
) -> list[Candidate]:
    """Score the candidates in rounds and return those that are left, the best first.

    `candidates` come in order of promise. `survivors` of them are scored on every example. Where
    the budget, less `reserve`, does not pay for that, there are fewer survivors, or fewer examples,
    or the last candidates are left out. Where it does not even pay for comparing two, only
    `least_reserve` is held back.
    """
    _probe(evaluator, candidates)
    schedule = affordable_schedule(evaluator, candidates, survivors=survivors, reserve=reserve)
    if schedule.counts[0] < min(2, len(candidates)) and least_reserve is not None:
        reserve = least_reserve
        schedule = affordable_schedule(evaluator, candidates, survivors=survivors, reserve=reserve)
    remaining = list(candidates[: schedule.counts[0]])
    evaluator.planned_evaluations = len(evaluator.history) + sum(schedule.counts)
    for count, size in zip(schedule.counts, schedule.sizes, strict=True):
        scored = [c for c in remaining[:count] if evaluator.evaluate(c, size, reserve=reserve)]
        if not scored:
            break
        remaining = promising(scored, on=size)
    return [c for c in ranked(remaining) if c.scores]


def _probe(evaluator: CandidateEvaluator, candidates: Sequence[Candidate]) -> None:
    """Learn from one small batch whether this backend computes a common beginning only once."""
    if evaluator.token_budget.tokens is None or evaluator.token_budget.sharing_known:
        return
    for candidate in candidates:
        estimate = estimate_tokens(candidate.model, evaluator.examples[:PROBE_EXAMPLES])
        if estimate.without_sharing > 1.2 * estimate.with_sharing:
            evaluator.evaluate(candidate, PROBE_EXAMPLES)
            return


def affordable_schedule(
    evaluator: CandidateEvaluator,
    candidates: Sequence[Candidate],
    *,
    survivors: int,
    reserve: float,
) -> HalvingSchedule:
    """The most thorough schedule that the budget pays for, with `ENOUGH_CANDIDATES` where it can.

    A choice among a few candidates on few examples beats no choice: where requests are long, the
    number of examples goes down to `MIN_EXAMPLES`.
    """
    budget, examples = evaluator.token_budget, len(evaluator.examples)
    estimates = [estimate_tokens(c.model, evaluator.examples[len(c.answers) :]) for c in candidates]
    # The mean cost of the first n candidates, for each n.
    mean_costs = np.cumsum([budget.cost_of(e) for e in estimates]) / np.arange(
        1, len(candidates) + 1
    )
    by_evaluation = budget.tokens is None and budget.seconds is None

    def pays(schedule: HalvingSchedule) -> bool:
        if by_evaluation:
            return sum(schedule.counts) <= budget.left - reserve
        share = schedule.answers / max(examples, 1)
        return float(mean_costs[schedule.counts[0] - 1]) * share <= budget.left - reserve

    least = min(MIN_EXAMPLES, examples)
    best, found = HalvingSchedule((1,), (least,)), 0
    for finalists, divisor in ((survivors, 1), (1, 1), (1, 2), (1, 4), (1, 8), (1, 16)):
        if found >= min(ENOUGH_CANDIDATES if divisor <= 4 else FEW_CANDIDATES, len(candidates)):
            break
        seen = max(least, examples // divisor)
        for count in range(len(candidates), found, -1):
            schedule = HalvingSchedule.of(count, seen, survivors=finalists)
            if pays(schedule):
                best, found = schedule, count
                break
    return best


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Best first: by the number of examples they were scored on, then by score, then by the
    log-probability of the target, then as they came."""
    return sorted(candidates, key=lambda c: (-len(c.answers), *_losses(c, len(c.answers))))


def promising(candidates: Sequence[Candidate], *, on: int) -> list[Candidate]:
    """Best first, by the sum of two ranks on the first `on` examples: that of the score and that of
    the log-probability of the target.

    On a few examples many scores are equal by chance; log-probabilities, which no threshold
    coarsens, vary less. Without them the order is that of the scores.
    """
    losses = {id(c): _losses(c, on) for c in candidates}
    score_losses = sorted(score for score, _ in losses.values())
    logprob_losses = sorted(logprob for _, logprob in losses.values())

    def rank_sum(candidate: Candidate) -> tuple[float, float]:
        score, logprob = losses[id(candidate)]
        return score_losses.index(score) + logprob_losses.index(logprob), score

    return sorted(candidates, key=rank_sum)


def _losses(candidate: Candidate, on: int) -> tuple[float, float]:
    """Minus the mean score and minus the mean log-probability of the target, on the first `on`
    examples."""
    if not candidate.scores:
        return (0.0, 0.0)
    calibration, mean = candidate.best_on(on)
    logprobs = candidate.target_logprobs.get(calibration) or [0.0]
    return (-mean, -float(np.mean(logprobs[:on])))


def close_to_best(candidates: Sequence[Candidate], *, errors: float) -> list[Candidate]:
    """Of candidates in order of rank, the first and those within `errors` standard errors of it."""
    best = candidates[0]
    if not best.scores:
        return list(candidates[:1])
    own = best.scores[best.best[0]]
    return [
        c
        for c in candidates
        if len(c.answers) == len(own) and _within(own, c.scores[c.best[0]], errors=errors)
    ]


def choose(candidates: Sequence[Candidate]) -> HalvingResult:
    """The cheapest within one standard error of the best, and the best among those of like cost.

    The largest of many noisy dev scores is too high (selection bias); a candidate whose paired
    difference from the best is below its standard error is taken to be no worse (the
    one-standard-error rule, Breiman et al. 1984, section 3.4.3). Only candidates that were scored
    on as many examples as any other compete. Where nothing was evaluated it is the first candidate,
    and the note says so.
    """
    most = max(len(c.answers) for c in candidates)
    if most == 0:
        return HalvingResult(candidates[0], "none", None, (NOT_SEARCHED,))
    rows = [(c, name) for c in candidates if len(c.answers) == most for name in c.scores]
    means = [float(np.mean(c.scores[name])) for c, name in rows]
    best = int(np.argmax(means))
    close = [i for i, row in enumerate(rows) if _no_worse(rows[best], row)]
    cheapest = min(rows[i][0].tokens_per_request for i in close)
    rivals = [i for i in close if rows[i][0].tokens_per_request <= SIMILAR_COST * cheapest]
    chosen = max(rivals, key=lambda i: means[i])
    candidate, calibration = rows[chosen]
    note = (
        f"Chosen on {most} dev examples among {len(rows)} variants that saw all of them: the "
        "cheapest within one standard error of the best dev score. A dev score that was searched "
        "for is optimistic; the test score is the one to believe."
    )
    notes = [note]
    if chosen != best:
        notes.append(
            f"The best dev score was {means[best]:.3f} ({_in_words(*rows[best])}); "
            f"chosen was {means[chosen]:.3f} ({_in_words(candidate, calibration)})."
        )
    return HalvingResult(candidate, calibration, means[chosen], tuple(notes))


def _in_words(candidate: Candidate, calibration: Calibration) -> str:
    tokens = f"{candidate.tokens_per_request:.0f} tokens a request"
    return f"{candidate.name}, calibration {calibration}, {tokens}"


def _no_worse(best: tuple[Candidate, Calibration], other: tuple[Candidate, Calibration]) -> bool:
    """Within one standard error of the best in scores and, where there are, in log-probabilities of
    the target, which show more."""
    (a, calibration_a), (b, calibration_b) = best, other
    if not _within(a.scores[calibration_a], b.scores[calibration_b]):
        return False
    logprobs_a = a.target_logprobs.get(calibration_a)
    logprobs_b = b.target_logprobs.get(calibration_b)
    return logprobs_a is None or logprobs_b is None or _within(logprobs_a, logprobs_b)


def _within(best: Sequence[float], other: Sequence[float], *, errors: float = 1.0) -> bool:
    """Whether the mean paired difference is at most `errors` of its standard errors."""
    difference = np.array(best) - np.array(other)
    if len(difference) < 2:
        return bool(difference.sum() <= 0)
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return bool(difference.mean() <= errors * error)
