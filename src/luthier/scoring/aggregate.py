"""From scored examples to a score with its interval: one run, or several seeds of one technique."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from luthier import registry
from luthier.errors import TaskError, UserError
from luthier.records import SampleScore, Score
from luthier.scoring.metrics import Floats, Statistics
from luthier.scoring.resolve import resolve_scorer
from luthier.scoring.scorer import Scorer
from luthier.scoring.scorers.class_labels import ACCURACY
from luthier.scoring.statistics.components import FitScores, SeedVariance, pooled
from luthier.scoring.statistics.intervals import Bounds, Interval, over_examples, over_seeds, wilson
from luthier.scoring.statistics.resampling import clusters_of

ScorerSpec = str | Callable[[str, str], float] | Scorer | None


class ScoredRun(Protocol):
    """A headline score and the sample scores behind it; an `EvalResult` is one."""

    @property
    def score(self) -> Score: ...

    @property
    def sample_scores(self) -> tuple[SampleScore, ...]: ...


def aggregate_samples(sample_scores: Sequence[SampleScore], scorer: Scorer) -> Score:
    """One run: the metric with its 95 % interval; unmeasured where there are no examples."""
    return _score([sample_scores], scorer)


def aggregate_seeds(
    results: Sequence[ScoredRun],
    scorer: ScorerSpec = None,
    *,
    seeds: SeedVariance | None = None,
) -> Score:
    """The mean of a metric over runs that differ in their seed, with a 95 % interval.

    The interval covers the variation of examples (or groups) and of seeds. `seeds` is the seed
    variance; None takes that of these runs alone, which two or three seeds hardly know. `scorer`
    None is the headline scorer of the first result; any other scores the predictions again.
    UserError where the runs did not answer the same examples.
    """
    if not results:
        metric = scorer.metric if isinstance(scorer, Scorer) else str(scorer or "")
        return Score(metric, None)
    chosen, runs = scored_by(scorer, results)
    return _score(runs, chosen, seeds)


def aggregate_techniques(
    results: Mapping[str, Sequence[ScoredRun]], scorer: ScorerSpec = None
) -> dict[str, Score]:
    """`aggregate_seeds` for each technique, with the seed variance pooled over all of them."""
    names = [name for name, runs in results.items() if runs]
    if not names or not results[names[0]][0].sample_scores:
        return {name: aggregate_seeds(results[name], scorer) for name in names}
    _, fits = fits_of({name: results[name] for name in names}, scorer)
    seeds = pooled(fits.values())
    return {name: aggregate_seeds(results[name], scorer, seeds=seeds) for name in names}


def fits_of(
    results: Mapping[str, Sequence[ScoredRun]],
    scorer: ScorerSpec = None,
    *,
    seeded: Collection[str] = (),
) -> tuple[Scorer, dict[str, FitScores]]:
    """The scorer, and the fits of each technique as it scores them.

    `seeded` names techniques of which another seed would give another fit, although there is one.
    """
    chosen, sample_scores = scored_by(scorer, [run for runs in results.values() for run in runs])
    clusters = clusters_of(sample_scores[0])
    statistics = statistics_of(sample_scores, chosen)
    fits = {}
    for name, runs in results.items():
        own, statistics = statistics[: len(runs)], statistics[len(runs) :]
        fits[name] = FitScores.of(own, clusters, seeded=name in seeded)
    return chosen, fits


def parse_rate(runs: Sequence[Sequence[SampleScore]]) -> Score:
    """The share of answers that could be read, over one run or several seeds of it."""
    parseable = [[replace(s, value=float(s.parseable), weight=1.0) for s in run] for run in runs]
    return _score(aligned(parseable), replace(ACCURACY, metric="parse-rate"))


def scored_by(
    scorer: ScorerSpec, results: Sequence[ScoredRun]
) -> tuple[Scorer, list[list[SampleScore]]]:
    """The scorer, and the runs as it scores them, with the examples in the order of the first run.

    Recorded scores are taken where the scorer is the headline one (None always is), and computed
    again otherwise.
    """
    headline = results[0].score
    chosen = _recorded(headline) if scorer is None else resolve_scorer(scorer)
    runs = aligned([list(r.sample_scores) for r in results])
    recorded = {r.score.metric for r in results}
    if recorded != {chosen.metric}:
        metrics = {*recorded, chosen.metric}
        likelihood = {m for m in metrics if _needs_likelihood(m)}
        if likelihood:
            raise UserError(
                f"{', '.join(sorted(likelihood))} does not score answers, "
                f"and cannot replace {', '.join(sorted(metrics - likelihood))}.",
                next_step="Evaluate again with the scorer you want.",
            )
        runs = [rescored(run, chosen) for run in runs]
    return chosen, runs


def rescored(sample_scores: Sequence[SampleScore], scorer: Scorer) -> list[SampleScore]:
    """The same predictions, scored by another scorer."""
    return [replace(s, value=_value(s, scorer), weight=1.0) for s in sample_scores]


def _value(sample: SampleScore, scorer: Scorer) -> float:
    if scorer.score_sample is not None:
        return scorer.score_sample(sample)
    return scorer.of(sample.prediction or "", sample.target, question=sample.input)


def aligned(runs: Sequence[Sequence[SampleScore]]) -> list[list[SampleScore]]:
    """The runs with their examples in the order of the first; UserError where they differ."""
    first = [s.example_id for s in runs[0]]
    out = []
    for run in runs:
        if [s.example_id for s in run] == first:
            out.append(list(run))
            continue
        found = {s.example_id: s for s in run}
        if len(run) != len(first) or set(found) != set(first):
            odd = sorted(set(first) ^ set(found))[:3]
            raise UserError(
                f"The results are of different examples ({len(first)} and {len(run)}; "
                f"for instance {', '.join(odd) or 'a repeated id'}), and cannot be paired.",
                next_step="Evaluate all of them on one split of one task with the same limit.",
            )
        out.append([found[key] for key in first])
    return out


def statistics_of(runs: Sequence[Sequence[SampleScore]], scorer: Scorer) -> list[Statistics]:
    """The statistics of each run, in columns that mean the same in all of them."""
    together = scorer.aggregate([s for run in runs for s in run])
    size = len(runs[0])
    return [
        Statistics(together.values[start : start + size], together.combine)
        for start in range(0, size * len(runs), size)
    ]


def bounds_of(runs: Sequence[Sequence[SampleScore]], scorer: Scorer) -> Bounds:
    """The range of the metric; where the scorer has none, [0, 1] if all scores lie there."""
    if scorer.low is None and scorer.high is None:
        inside = all(0.0 <= s.value <= 1.0 for run in runs for s in run)
        return Bounds(0.0, 1.0) if inside else Bounds(None, None)
    return Bounds(scorer.low, scorer.high)


def is_proportion(values: Floats, scorer: Scorer) -> bool:
    """Whether statistics (n, 2) are plain scores of 0 and 1, to which exact methods apply."""
    return not scorer.is_corpus_level and bool(
        np.all((values[:, 0] == 0.0) | (values[:, 0] == 1.0)) and np.all(values[:, 1] == 1.0)
    )


def _needs_likelihood(metric: str) -> bool:
    scorer = _registered(metric)
    return scorer is not None and scorer.needs_likelihood


def _recorded(score: Score) -> Scorer:
    """The scorer behind a recorded score; for a custom one, the mean of the recorded scores."""
    registered = _registered(score.metric)
    if registered is not None:
        return registered
    return Scorer(
        metric=score.metric,
        score=_unknown(score.metric),
        low=None,
        high=None,
        higher_is_better=score.higher_is_better,
    )


def _registered(metric: str) -> Scorer | None:
    """The registered scorer of this metric; None for a custom one or for a plugin that is gone."""
    try:
        return resolve_scorer(metric) if registry.has("scorers", metric) else None
    except TaskError:
        return None


def _unknown(metric: str) -> Callable[[str, str], float]:
    def score(prediction: str, target: str) -> float:
        raise UserError(
            f"The scorer {metric} was recorded by name only and cannot score again.",
            next_step="Pass the function itself.",
        )

    return score


def _score(
    runs: Sequence[Sequence[SampleScore]], scorer: Scorer, seeds: SeedVariance | None = None
) -> Score:
    facts: Mapping[str, Any] = {
        "metric": scorer.metric,
        "higher_is_better": scorer.higher_is_better,
    }
    if not runs or not runs[0]:
        return Score(value=None, **facts)
    # A technique without randomness has the same run for each seed, which counts as one run.
    fits = FitScores.of(statistics_of(runs, scorer), clusters_of(runs[0]))
    value = fits.value
    if not np.isfinite(value):
        return Score(value=None, **facts)
    low, high = _interval(fits, seeds, scorer, bounds_of(runs, scorer))
    return Score(value=value, low=low, high=high, **facts)


def _interval(
    fits: FitScores, seeds: SeedVariance | None, scorer: Scorer, bounds: Bounds
) -> Interval:
    if fits.count > 1:
        return over_seeds(fits, seeds=seeds or fits.seed_variance, bounds=bounds)
    first = fits.runs[0]
    if fits.groups == len(fits.clusters) and is_proportion(first.values, scorer):
        return bounds.around(first.value, wilson(first.values[:, 0].sum(), fits.groups))
    return over_examples(first, fits.clusters, bounds=bounds)
