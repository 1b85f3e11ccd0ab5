"""Does the verdict keep its promises? Simulations with the product's own code.

`python -m benchmarks.statistics [--quick]` prints, for worlds in which the truth is known, how
often intervals cover it, how often equal techniques are told apart, what several seeds are worth,
and how often the pick is more than the tolerance below the truly best. Exit 1 where a promise is
missed.

Worlds: each example is harder or easier for everybody and for its group; each fit has a true score
of its own about that of its technique; nothing else is shared. Scores are 0 or 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from luthier.compare.comparison import TechniqueResult
from luthier.compare.costs import Cost, Price, PriceBook
from luthier.compare.subject import TaskFacts
from luthier.compare.verdict import Evidence, decide
from luthier.content import Usage
from luthier.records import EvalResult, SampleScore, Score
from luthier.scoring import ComparisonsWithBest, aggregate_techniques, compare_with_best

README = (0.14, 0.449, 0.485, 0.578, 0.581, 0.574)  # scores of the README's table, as truths
TASK = TaskFacts("simulated", "classify", "", "", (), "accuracy", 0, 0, 0)
Runs = dict[str, list[EvalResult]]


class World:
    """Draws what techniques of known true scores would answer."""

    def __init__(self, seed: int, *, seed_spread: float = 0.02, group_share: float = 0.1) -> None:
        self.rng = np.random.default_rng(seed)
        self.seed_spread, self.group_share = seed_spread, group_share

    def runs(
        self, truths: Sequence[float], *, n: int, seeds: int, group: int = 1, fixed: bool = False
    ) -> Runs:
        """One evaluation for each seed of each technique.

        The latent ease of an answer is normal: shares of it belong to the example (half), to its
        group, and to the fit. The true score of a fit has the standard deviation `seed_spread`
        near one half and less near the ends; `fixed`: there is no such difference between fits.
        """
        from scipy.special import ndtri

        rng = self.rng
        names = np.arange(n) // group
        shared = np.sqrt(0.5) * rng.standard_normal(n)
        left = 0.5
        if group > 1:
            shared += np.sqrt(self.group_share) * rng.standard_normal(names.max() + 1)[names]
            left -= self.group_share
        groups = None if group == 1 else [str(name) for name in names]
        found: Runs = {}
        for place, truth in enumerate(truths):
            fits = []
            # A probit shift whose mean effect is zero: the truth stays the mean over seeds.
            sigma = 0.0 if fixed else self.seed_spread * np.sqrt(2.0 * np.pi)
            middle = ndtri(truth) * np.sqrt(1.0 + sigma**2)
            for _ in range(seeds):
                level = middle + sigma * rng.standard_normal()
                own = shared + np.sqrt(left) * rng.standard_normal(n)
                fits.append(evaluation(own < level, groups))
            found[f"t{place}"] = fits
        return found


def evaluation(right: np.ndarray, groups: Sequence[str] | None) -> EvalResult:
    """An evaluation with these answers right."""
    samples = tuple(
        SampleScore(str(i), "", "a", "a", "a", True, float(r), groups[i] if groups else None)
        for i, r in enumerate(right)
    )
    score = Score("accuracy", float(np.mean(right)))
    return EvalResult(score, Score("parse-rate", None), (), samples, Usage(), 0.0)


def coverage(trials: int, sizes: Sequence[int]) -> list[tuple[str, float, bool]]:
    """Of the interval of one score, in a comparison of four techniques of the same truth.

    With one seed the truth is that of the fit: no more is claimed.
    """
    rows = []
    cells = product(sizes, (1, 2, 3, 5), (1, 10), (0.02, 0.1, 0.5, 0.9, 0.98))
    for n, seeds, group, truth in cells:
        world = World(n + seeds)
        hits = total = 0
        for _ in range(max(1, trials // 4)):
            runs = world.runs([truth] * 4, n=n, seeds=seeds, group=group, fixed=seeds == 1)
            for score in aggregate_techniques(runs).values():
                assert score.low is not None
                assert score.high is not None
                hits += score.low <= truth <= score.high
                total += 1
        name = f"n {n:3d}, {seeds} seeds, groups of {group:2d}, truth {truth:.2f}"
        # The four share their examples: twice the error of independent ones is allowed for.
        slack = 4.0 * np.sqrt(0.95 * 0.05 / total)
        share = hits / total
        rows.append((name, share, 0.93 - slack <= share <= 0.98 + slack))
    return rows


def told_apart(trials: int, *, n: int, seeds: int) -> float:
    """How often something is told from the best of six equal techniques."""
    world = World(seeds)
    return share(
        trials,
        lambda: any(
            not test.tied
            for test in family(world.runs([0.6] * 6, n=n, seeds=seeds, fixed=seeds == 1)).tests
        ),
    )


def power(trials: int, *, n: int, seeds: int) -> float:
    """How often a technique 12 points below three equal ones is told from the best."""
    world = World(seeds)

    def found() -> bool:
        tests = family(world.runs([0.48, 0.6, 0.6, 0.6], n=n, seeds=seeds)).tests
        return any(test.first == "t0" and not test.tied for test in tests)

    return share(trials, found)


def family(runs: Runs) -> ComparisonsWithBest:
    """The comparisons with the best, all techniques being seeded."""
    return compare_with_best(runs, seeded=set(runs))


def wrong_pick(trials: int, *, n: int, seeds: int) -> tuple[float, float]:
    """How often the pick is more than 3 points below the truly best, and how often the loss is
    above the bound; on the README's truths, the worse the cheaper."""
    world, worse, above = World(seeds), 0, 0
    for _ in range(trials):
        runs = world.runs(README, n=n, seeds=seeds)
        found = family(runs)
        scores = aggregate_techniques(runs)
        results = tuple(
            replace(blank(name, cost=10 * (place + 1)), score=scores[name], bound=bound)
            for place, (name, bound) in enumerate(found.bounds.items())
        )
        verdict = decide(
            Evidence(TASK, results, found.tests, (), PriceBook(), Price(), 3.0, found.optimism)
        )
        assert verdict.pick is not None
        assert verdict.bound is not None
        loss = max(README) - README[int(verdict.pick[1:])]
        worse += loss > 0.03
        above += loss > verdict.bound + 1e-9
    return worse / trials, above / trials


def optimism(trials: int, *, n: int) -> tuple[float, float]:
    """Of the best of six equal techniques, in points: true and said."""
    world, true, said = World(n), [], []
    for _ in range(trials):
        found = family(runs := world.runs([0.6] * 6, n=n, seeds=1, fixed=True))
        true.append(100 * (max(of[0].score.value or 0.0 for of in runs.values()) - 0.6))
        said.append(100 * (found.optimism or 0.0))
    return float(np.mean(true)), float(np.mean(said))


def blank(name: str, *, cost: float) -> TechniqueResult:
    """A finished technique whose requests read so many tokens."""
    return TechniqueResult(
        technique=name,
        slug=name,
        family="adapter",
        trained=True,
        status="finished",
        score=Score("accuracy", None),
        parse_rate=Score("parse-rate", None),
        cost=Cost(fit_tokens=0, prompt_tokens=cost, shared_prompt_tokens=0.0),
    )


def share(trials: int, event: Callable[[], bool]) -> float:
    """How often an event happens."""
    return sum(event() for _ in range(trials)) / trials


def main() -> int:
    """Print every number; 1 where a promise is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.statistics")
    parser.add_argument("--quick", action="store_true", help="fewer draws: about a minute")
    quick = parser.parse_args().quick
    began, missed = time.perf_counter(), 0

    def say(words: str, kept: bool) -> None:
        nonlocal missed
        missed += not kept
        print(f"{'ok    ' if kept else 'MISSED'} {words}", flush=True)

    trials = 100 if quick else 600
    for n in (136,) if quick else (60, 136, 500):
        for seeds in (1, 3) if quick else (1, 2, 3, 5):
            rate = told_apart(trials, n=n, seeds=seeds)
            kept = rate <= 0.06 + 2.0 * np.sqrt(0.05 * 0.95 / trials)
            say(f"six equal, n {n}, {seeds} seeds: something told apart in {rate:.3f}", kept)
    powers = {seeds: power(trials, n=136, seeds=seeds) for seeds in (1, 3)}
    words = ", ".join(f"{seeds} seeds {found:.2f}" for seeds, found in powers.items())
    say(f"12 points at n = 136 found: {words}", powers[3] >= powers[1])
    for seeds in (1, 3):
        worse, above = wrong_pick(trials, n=136, seeds=seeds)
        slack = 2.0 * np.sqrt(0.05 * 0.95 / trials)
        say(
            f"README's truths, n = 136, {seeds} seeds: pick more than 3 points below the truly "
            f"best in {worse:.3f}, loss above its bound in {above:.3f}",
            max(worse, above) <= 0.05 + slack,
        )
    for n in (20, 60, 136):
        true, said = optimism(trials, n=n)
        say(f"best of six equal, n {n}: {true:.1f} points too good, said {said:.1f}", said <= true)
    rows = coverage(80 if quick else 400, (136,) if quick else (20, 60, 136, 500))
    for name, covered, kept in rows:
        say(f"coverage {covered:.3f}, {name}", kept)
    print(f"{missed} promises missed, {time.perf_counter() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
