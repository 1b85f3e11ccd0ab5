"""Calls of tools: how many, how right, how long; and the way to some answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.compare.comparison import Comparison
from luthier.records import SampleScore
from luthier.report import amounts
from luthier.scoring.scorers.tool_calls import call_match

MOST_TRACES = 12  # of each technique
MOST_LETTERS = 300


@dataclass(frozen=True, slots=True)
class CallRow:
    """One technique: calls for each answer, those that failed, the share of answers whose calls are
    the wanted ones, and the seconds that tools took for each answer."""

    technique: str
    calls: str
    failed: str
    matched: str
    seconds: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The way to one answer; `steps` are (call, result, whether it failed)."""

    technique: str
    question: str
    steps: tuple[tuple[str, str, bool], ...]
    answer: str
    target: str
    right: bool


@dataclass(frozen=True, slots=True)
class ToolTraces:
    """The section: a row for each technique that calls tools, and traces, wrong answers first."""

    rows: tuple[CallRow, ...]
    traces: tuple[Trace, ...]


def tool_traces(comparison: Comparison) -> ToolTraces | None:
    """The calls of a comparison; None where no technique called anything."""
    rows: list[CallRow] = []
    traces: list[Trace] = []
    for result in comparison.results:
        samples = [s for run in result.runs for s in run.sample_scores]
        if not any(sample.steps for sample in samples):
            continue
        rows.append(_row(result.technique, samples))
        ranked = sorted((s for s in result.runs[0].sample_scores if s.steps), key=lambda s: s.value)
        traces += [_trace(result.technique, sample) for sample in ranked[:MOST_TRACES]]
    return ToolTraces(tuple(rows), tuple(traces)) if rows else None


def call_sentences(comparison: Comparison) -> tuple[str, ...]:
    """The rows of the section, a sentence each."""
    traces = tool_traces(comparison)
    return tuple(
        f"{row.technique}: {row.calls} calls an answer ({row.failed} failed), {row.seconds} in "
        f"tools an answer; the calls are the wanted ones for {row.matched} of the answers."
        for row in (() if traces is None else traces.rows)
    )


def _row(technique: str, samples: Sequence[SampleScore]) -> CallRow:
    steps = [step for sample in samples for step in sample.steps]
    wanted = [sample for sample in samples if sample.wanted_calls is not None]
    matched = sum(map(call_match, wanted)) / len(wanted) if wanted else None
    return CallRow(
        technique,
        calls=f"{len(steps) / len(samples):.2f}",
        failed=f"{sum(step.failed for step in steps):,} of {len(steps):,}",
        matched=amounts.UNMEASURED if matched is None else amounts.rate(matched),
        seconds=amounts.seconds(sum(step.seconds or 0.0 for step in steps) / len(samples)),
    )


def _trace(technique: str, sample: SampleScore) -> Trace:
    steps = tuple(
        (
            f"{s.name}({json.dumps(dict(s.arguments), ensure_ascii=False)})"[:MOST_LETTERS],
            s.result[:MOST_LETTERS],
            s.failed,
        )
        for s in sample.steps
    )
    answer = sample.raw if sample.prediction is None else sample.prediction
    return Trace(
        technique, sample.input[:MOST_LETTERS], steps, answer[:MOST_LETTERS],
        sample.target[:MOST_LETTERS], sample.value >= 1.0,
    )  # fmt: skip
