"""What an evaluation found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from luthier.content import ToolCall, ToolStep, Usage
from luthier.table_forms import frame, html_table


@dataclass(frozen=True, slots=True)
class Score:
    """A metric with its 95 % interval. `value` None: unmeasured."""

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    higher_is_better: bool = True


@dataclass(frozen=True, slots=True)
class SampleScore:
    """One example, what was answered, and what the scorer made of it (`value` in [0, 1] for most).

    `weight` is how much the value counts in the aggregate: 1, or the target's tokens for
    perplexity. `cut`: the answer did not end by itself and was cut at the limit of new tokens.
    `steps` are the calls of tools that were run before the answer; `wanted_calls` those that the
    example names. `remarks` say in words what the scorer found wrong.
    """

    example_id: str
    input: str
    target: str
    raw: str
    prediction: str | None
    parseable: bool
    value: float
    group: str | None = None
    weight: float = 1.0
    cut: bool = False
    steps: tuple[ToolStep, ...] = ()
    wanted_calls: tuple[ToolCall, ...] | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EvalResult:
    """One model on one split: the headline score, secondary ones, and every judged example.

    `met_examples` counts the examples that the fit of the model could see, None where that is not
    recorded. `latency_mean_ms` is over `timed_requests` single requests, each of which computes
    `label_tokens` beyond its prompt to rank the labels.

    `notes` says what befell the requests and bears on the score: inputs that were cut, answers that
    ended inside a thought, parameters that a server does not take.
    """

    score: Score
    parse_rate: Score
    secondary: tuple[Score, ...]
    sample_scores: tuple[SampleScore, ...]
    usage: Usage
    eval_seconds: float
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    met_examples: int | None = None
    latency_mean_ms: float | None = None
    timed_requests: int = 0
    label_tokens: float | None = None
    notes: tuple[str, ...] = ()

    def to_frame(self) -> Any:
        """A pandas frame with a row for each example. UserError without pandas."""
        return frame(
            [{s: getattr(one, s) for s in SampleScore.__slots__} for one in self.sample_scores]
        )

    def _repr_html_(self) -> str:
        """The scores as a notebook shows them."""
        rows = [
            {"metric": s.metric, "value": s.value, "low": s.low, "high": s.high}
            for s in (self.score, self.parse_rate, *self.secondary)
        ]
        latency = self.latency_p50_ms
        words = [f"{len(self.sample_scores):,} examples"]
        words += [] if latency is None else [f"{latency:.1f} ms a request (median)"]
        return html_table(rows, below="; ".join([*words, *self.notes]))


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A technique against the best on the same examples: `difference` is the metric of `first`
    minus that of `second`, the best, each the mean over its seeds.

    `low` and `high` are simultaneous: all intervals of one comparison hold together in 95 % of
    cases. `p_value` is that of this test alone, `p_adjusted` that for the whole family. `tied`:
    p_adjusted is 0.05 or more; exactly then the interval holds 0. `better` names the better one,
    None when tied. `examples` counts examples, `clusters` groups of them (equal where there are
    none), `seeds` the runs of each technique.
    """

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p_value: float
    p_adjusted: float
    tied: bool
    test: str
    examples: int
    better: str | None = None
    clusters: int | None = None
    seeds: tuple[int, int] = (1, 1)

    def to_json(self) -> dict[str, Any]:
        """The test as `luthier compare --json` prints it."""
        return {
            "technique": self.first,
            "best": self.second,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "p": self.p_value,
            "p_adjusted": self.p_adjusted,
            "tied": self.tied,
        }
