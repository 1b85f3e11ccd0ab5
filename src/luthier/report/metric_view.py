"""A metric as readers see it: its name, its range, how its values are written."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.compare.comparison import Comparison
from luthier.records import Score
from luthier.report import amounts

_NAMES = {
    "macro-f1": "macro-F1",
    "exact-match": "exact match",
    "token-f1": "token F1",
    "rouge-1": "ROUGE-1",
    "rouge-2": "ROUGE-2",
    "rouge-l": "ROUGE-L",
    "chrf": "chrF",
    "bleu": "BLEU",
    "regex": "regex matches",
    "json-schema": "valid JSON",
    "json-fields": "JSON fields right",
}
# Metrics without an upper bound, whatever their values are.
_UNBOUNDED = {"perplexity", "loss"}


@dataclass(frozen=True, slots=True)
class MetricView:
    """How one metric is shown. A `fraction` lies in [0, 1] and gets three decimals."""

    name: str
    fraction: bool
    higher_is_better: bool = True

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The ends of the metric's range; None where it is open."""
        return (0.0, 1.0) if self.fraction else (None, None)

    def write(self, value: float | None) -> str:
        """The number, or the dash."""
        return amounts.score(value, fraction=self.fraction)

    def interval(self, score: Score) -> str:
        """`0.781–0.896`, or the dash."""
        return amounts.interval(score.low, score.high, fraction=self.fraction)

    def difference(self, value: float | None) -> str:
        """A difference with its sign, or the dash."""
        return amounts.difference(value, fraction=self.fraction)


def metric_name(metric: str) -> str:
    """A metric's name in running text: `rouge-l` is ROUGE-L."""
    return _NAMES.get(metric, metric.replace("_", " "))


def metric_view_of(comparison: Comparison) -> MetricView:
    """The metric of the headline score: a fraction when no number lies outside [0, 1]."""
    scores = [r.score for r in comparison.results if r.score.value is not None]
    return metric_view_of_scores(comparison.task.metric, scores)


def metric_view_of_scores(metric: str, scores: list[Score]) -> MetricView:
    """The same for any scores that share a metric."""
    ends = [v for s in scores for v in (s.value, s.low, s.high) if not amounts.missing(v)]
    inside = all(0.0 <= v <= 1.0 for v in ends if v is not None)
    return MetricView(
        name=metric_name(metric),
        fraction=inside and metric not in _UNBOUNDED,
        higher_is_better=all(s.higher_is_better for s in scores),
    )
