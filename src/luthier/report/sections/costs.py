"""What each technique costs to make and to use, when it pays, and what it made the base forget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from luthier.compare.comparison import Comparison
from luthier.compare.costs import Cost
from luthier.report import amounts
from luthier.report.technique_view import TechniqueView

Column = tuple[str, str, Callable[[Cost], float | None], Callable[[float | None], str]]


@dataclass(frozen=True, slots=True)
class CostTable:
    """`columns` are (heading, explanation); each row a line and its cells."""

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[TechniqueView, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One technique's loss off the task, in nats a token, before and after the fit."""

    line: TechniqueView
    before: str
    after: str
    change: str
    perplexity: str
    tokens: str


def cost_tables(comparison: Comparison, lines: Sequence[TechniqueView]) -> list[CostTable]:
    """What it takes to make each, and what to use it: a column nobody measured is left out."""
    currency = comparison.plan.currency

    def money(value: float | None) -> str:
        return amounts.money(value, currency)

    making: list[Column] = [
        ("fit time", "wall time of one fit", lambda c: c.fit_seconds, amounts.seconds),
        ("fit cost", "paid once, at the price book's rates", lambda c: c.fit_money, money),
        ("fit FLOPs", "by formula", lambda c: c.fit_flops, flops),
        ("peak memory", "while fitting", lambda c: c.peak_memory_bytes, amounts.size),
        (
            "trained parameters",
            "numbers that the fit changed",
            lambda c: c.trainable_parameters,
            amounts.count,
        ),
        (
            "saved size",
            "of the adaptation, without the base",
            lambda c: c.artifact_bytes,
            amounts.size,
        ),
    ]
    using: list[Column] = [
        ("prompt tokens", "per request", lambda c: c.prompt_tokens, amounts.count),
        (
            "of which shared",
            "the same for every request: a prefix cache keeps them",
            lambda c: c.shared_prompt_tokens,
            amounts.count,
        ),
        ("generated tokens", "per request", lambda c: c.generated_tokens, amounts.count),
        ("request FLOPs", "by formula", lambda c: c.request_flops, flops),
        (
            "p50",
            "median latency of one request on this machine",
            lambda c: c.latency_p50_ms,
            amounts.milliseconds,
        ),
        ("p95", "95th percentile of the same", lambda c: c.latency_p95_ms, amounts.milliseconds),
        ("1,000 requests", "without a prefix cache", lambda c: c.per_1k_requests, money),
        (
            "… cached",
            "1,000 requests with a prefix cache",
            lambda c: c.per_1k_requests_cached,
            money,
        ),
    ]
    found = [_table("To make", making, lines), _table("To use", using, lines)]
    return [table for table in found if table.columns]


def _table(name: str, columns: Sequence[Column], lines: Sequence[TechniqueView]) -> CostTable:
    shown = [x for x in lines if any(read(x.row.cost) is not None for *_, read, _ in columns)]
    kept = [c for c in columns if any(c[2](line.row.cost) is not None for line in shown)]
    return CostTable(
        name,
        tuple((heading, explanation) for heading, explanation, *_ in kept),
        tuple(
            (line, tuple(write(read(line.row.cost)) for *_, read, write in kept)) for line in shown
        ),
    )


def break_even(comparison: Comparison) -> list[str]:
    """When the pick has paid for its fit, in sentences; none where nothing was picked."""
    verdict = comparison.verdict
    if verdict.pick is None:
        return []
    pick = comparison.row(verdict.pick)
    if not pick.trained:
        return [f"{pick.technique} trains nothing, so there is no training to pay off."]
    if not any(r.family == "prompt" and r.score.value is not None for r in comparison.rows):
        return ["No prompt was scored, so there is nothing to break even against."]
    plain, cached = verdict.break_even_requests, verdict.break_even_requests_cached
    if plain is None and cached is None:
        return [
            f"Against the best prompt, {pick.technique} never pays for its fit by cheaper requests "
            "alone, or its costs were not measured; what it buys is quality."
        ]
    said = []
    for requests, where in ((plain, "without a prefix cache"), (cached, "with a prefix cache")):
        if requests == 0:
            said.append(
                f"{where[0].upper()}{where[1:]}, {pick.technique} costs no more than the best "
                "prompt from the first request on."
            )
        elif requests is None:
            said.append(f"{where[0].upper()}{where[1:]} it never does by cheaper requests alone.")
        else:
            said.append(
                f"{where[0].upper()}{where[1:]}, {pick.technique} has paid for its fit against "
                f"the best prompt after {amounts.plural(requests, 'request')}."
            )
    said.append("Counted in money where tokens are billed, in tokens of compute elsewhere.")
    return [" ".join(said)]


def prices(comparison: Comparison) -> str:
    """What the money was reckoned with; "" where nothing has a price."""
    currency = comparison.plan.currency
    price = comparison.prices.of(comparison.model.name, remote=comparison.model.facts.remote)
    tail = "The price book is a file: change it, and pass it with --prices."
    if price.input is not None:
        parts = [f"{amounts.money(1e6 * price.input, currency)} for a million prompt tokens"]
        if price.cached_input is not None:
            parts.append(f"{amounts.money(1e6 * price.cached_input, currency)} where cached")
        if price.output is not None:
            parts.append(f"{amounts.money(1e6 * price.output, currency)} for generated ones")
        return f"Priced at {', '.join(parts)}. {tail}"
    if price.machine_hour is None:
        return ""
    return f"Priced at {amounts.money(price.machine_hour, currency)} an hour of the machine. {tail}"


def forgetting(lines: Sequence[TechniqueView]) -> list[Forgotten]:
    """Loss off the task, of those techniques where it was measured."""
    found = []
    for line in lines:
        off = line.row.off_task
        if off is None:
            continue
        change = off.after - off.before
        found.append(
            Forgotten(
                line=line,
                before=f"{off.before:.3f}",
                after=f"{off.after:.3f}",
                change=amounts.difference(change, fraction=True),
                perplexity=_factor(change),
                tokens=amounts.count(off.tokens),
            )
        )
    return found


def _factor(change: float) -> str:
    """exp(change): by what the perplexity was multiplied."""
    if change > 50:
        return "× more than e⁵⁰"
    return "× " + f"{math.exp(change):.2f}"


def flops(value: float | None) -> str:
    """Floating-point operations: 3.2 × 10¹²."""
    if value is None or amounts.missing(value):
        return amounts.UNMEASURED
    if value == 0:
        return "0"
    power = math.floor(math.log10(value))
    if power < 4:
        return amounts.count(value)
    digits = str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value / 10**power:.1f} × 10{digits}"
