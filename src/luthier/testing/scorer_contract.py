"""The contract of a scorer: a number for each answer, and a metric with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from luthier.errors import TaskError
from luthier.records import Example, SampleScore
from luthier.scoring.aggregate import aggregate_samples
from luthier.scoring.resolve import resolve_scorer
from luthier.scoring.scorer import Scorer
from luthier.testing.expectations import expect, expect_close, expect_equal, expect_error

PAIRS = (
    ("delivery", "delivery"),
    ("billing", "delivery"),
    ("", "account access"),
    ("The parcel came on Monday.", "the parcel came on Tuesday"),
    ("Zürich hat viele schöne Brücken", "Zürich hat viele alte Brücken"),
)


def check_scorer(
    scorer: str | Callable[[str, str], float] | Scorer,
    *,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    truth_is_best: bool = True,
) -> Scorer:
    """Hold a scorer, or the registered name of one, to its contract; returns it as a `Scorer`.

    **Arguments**

    - `pairs`: (prediction, target) that it is tried on; its targets must be of the kind that the
      scorer takes.
    - `truth_is_best`: no prediction may score better than the target itself. False for scorers that
      do not compare the two, such as one that measures length.
    """
    found = resolve_scorer(scorer)
    expect(found.metric, "a scorer must name its metric")
    if found.needs_likelihood:
        with expect_error(TaskError, "a scorer of likelihoods must refuse to score an answer"):
            found.score(*pairs[0])
        values = [0.5 + 0.25 * i for i in range(len(pairs))]
    else:
        found.check([Example(str(i), "input", target) for i, (_, target) in enumerate(pairs)])
        values = [_checked_value(found, prediction, target) for prediction, target in pairs]
        for (prediction, target), value in zip(pairs, values, strict=True):
            _checked_value(found, "", target)  # what an answer that could not be read scores
            if truth_is_best:
                best = found.score(target, target)
                worse = value <= best if found.higher_is_better else value >= best
                expect(worse, f"{prediction!r} scores {value}, and the target {target!r} {best}")
    samples = [
        SampleScore(str(i), "input", target, prediction, prediction, True, value)
        for i, ((prediction, target), value) in enumerate(zip(pairs, values, strict=True))
    ]
    _check_metric(found, samples)
    return found


def _checked_value(scorer: Scorer, prediction: str, target: str) -> float:
    value = scorer.score(prediction, target)
    expect(isinstance(value, (int, float)), f"a score must be a number, not {value!r}")
    expect(math.isfinite(value), f"a score must be finite, not {value!r}")
    expect(scorer.low is None or value >= scorer.low, f"{value} is below low={scorer.low}")
    expect(scorer.high is None or value <= scorer.high, f"{value} is above high={scorer.high}")
    expect_equal(scorer.score(prediction, target), value, "the same answer must score the same")
    return float(value)


def _check_metric(scorer: Scorer, samples: Sequence[SampleScore]) -> None:
    score = aggregate_samples(samples, scorer)
    expect_equal(score.metric, scorer.metric, "the metric must keep its name")
    expect_equal(score.higher_is_better, scorer.higher_is_better, "and its direction")
    value = score.value
    expect(value is not None, "the metric over some examples must be a number")
    assert value is not None
    reversed_value = aggregate_samples(samples[::-1], scorer).value
    expect(reversed_value is not None, "the metric must not depend on the order of the examples")
    expect_close([reversed_value or 0.0], [value], "the metric depends on the order", absolute=1e-9)
    expect(scorer.low is None or value >= scorer.low - 1e-9, f"the metric {value} is below `low`")
    expect(
        scorer.high is None or value <= scorer.high + 1e-9, f"the metric {value} is above `high`"
    )
    if score.low is not None and score.high is not None:
        inside = score.low - 1e-9 <= value <= score.high + 1e-9
        expect(inside, f"the interval [{score.low}, {score.high}] does not hold {value}")
    expect(aggregate_samples((), scorer).value is None, "no examples, no value")
