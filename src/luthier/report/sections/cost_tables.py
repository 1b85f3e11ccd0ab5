"""What each technique costs to make and to use, when it pays off, and what it made the base
forget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from luthier.compare.comparison import Comparison
from luthier.compare.costs import Cost, Price
from luthier.report import amounts
from luthier.report.technique_view import TechniqueView

Column = tuple[str, str, Callable[[Cost], float | None], Callable[[float | None], str]]


@dataclass(frozen=True, slots=True)
class CostTable:
    """`columns` are (heading, explanation); a row is a technique and its cells."""

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[TechniqueView, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One technique's loss off the task, in nats a token, before and after the fit."""

    view: TechniqueView
    before: str
    after: str
    change: str
    perplexity: str
    tokens: str


def cost_tables(comparison: Comparison, views: Sequence[TechniqueView]) -> list[CostTable]:
    """What each technique costs to make and to use; a column without measurements is left out."""
    currency = comparison.plan.currency

    def money(value: float | None) -> str:
        return amounts.money(value, currency)

    making: list[Column] = [
        ("fit time", "wall time of one fit", lambda c: c.fit_seconds, amounts.seconds),
        ("fit cost", "paid once, at the price book's rates", lambda c: c.fit_money, money),
        ("of which helpers", "teachers and writers, at theirs", lambda c: c.helper_money, money),
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
        (
            "label tokens",
            "computed beyond the prompt to rank the labels",
            lambda c: c.label_tokens,
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
        ("from", "lower end of its 95 % interval", lambda c: c.per_1k_low, money),
        ("to", "upper end of it", lambda c: c.per_1k_high, money),
        (
            "… cached",
            "1,000 requests with a prefix cache",
            lambda c: c.per_1k_requests_cached,
            money,
        ),
    ]
    tables = [_table("To make", making, views), _table("To use", using, views)]
    return [table for table in tables if table.columns]


def _table(name: str, columns: Sequence[Column], views: Sequence[TechniqueView]) -> CostTable:
    shown = [v for v in views if any(read(v.result.cost) is not None for *_, read, _ in columns)]
    kept = [c for c in columns if any(c[2](view.result.cost) is not None for view in shown)]
    return CostTable(
        name,
        tuple((heading, explanation) for heading, explanation, *_ in kept),
        tuple(
            (view, tuple(write(read(view.result.cost)) for *_, read, write in kept))
            for view in shown
        ),
    )


def break_even(comparison: Comparison) -> list[str]:
    """After how many requests the pick has paid for its fit, in words; [] without a pick."""
    verdict = comparison.verdict
    if verdict.pick is None:
        return []
    pick = comparison.result(verdict.pick)
    if not pick.trained:
        return [f"{pick.technique} trains nothing, so there is no training to pay off."]
    if not any(r.family == "prompt" and r.score.value is not None for r in comparison.results):
        return ["No prompt was scored, so there is nothing to break even against."]
    plain, cached = verdict.break_even_requests, verdict.break_even_requests_cached
    if plain is None and cached is None:
        return [
            f"Against the best prompt, {pick.technique} never pays for its fit by cheaper requests "
            "alone, or its costs were not measured; what it buys is quality."
        ]
    sentences = []
    for requests, where in ((plain, "without a prefix cache"), (cached, "with a prefix cache")):
        if requests == 0:
            sentences.append(
                f"{where[0].upper()}{where[1:]}, {pick.technique} costs no more than the best "
                "prompt from the first request on."
            )
        elif requests is None:
            sentences.append(
                f"{where[0].upper()}{where[1:]} it never does by cheaper requests alone."
            )
        else:
            sentences.append(
                f"{where[0].upper()}{where[1:]}, {pick.technique} has paid for its fit against "
                f"the best prompt after {amounts.plural(requests, 'request')}."
            )
    sentences.append(
        "This is counted in money where tokens are billed, and in tokens of compute elsewhere."
    )
    return [" ".join(sentences)]


def prices(comparison: Comparison) -> str:
    """The prices behind the money in the tables; "" where nothing has a price."""
    currency = comparison.plan.currency
    tail = "The price book is a file: change it, and pass it with --prices."
    written: dict[str, list[str]] = {}
    for base in comparison.bases:
        price = comparison.prices.of(base.name, remote=base.facts.remote)
        written.setdefault(_price_words(price, currency), []).append(base.name)
    written.pop("", None)
    if not written:
        return ""
    several = len(comparison.bases) > 1
    sentences = [
        f"{' and '.join(names) + ': p' if several else 'P'}riced at {words}."
        for words, names in written.items()
    ]
    return " ".join([*sentences, tail])


def _price_words(price: Price, currency: str) -> str:
    """The rates of one base; "" where it has no price."""
    if price.input is not None:
        parts = [f"{amounts.money(1e6 * price.input, currency)} for a million prompt tokens"]
        if price.cached_input is not None:
            parts.append(f"{amounts.money(1e6 * price.cached_input, currency)} where cached")
        if price.output is not None:
            parts.append(f"{amounts.money(1e6 * price.output, currency)} for generated ones")
        return ", ".join(parts)
    if price.machine_hour is None:
        return ""
    return f"{amounts.money(price.machine_hour, currency)} an hour of the machine"


def forgetting(views: Sequence[TechniqueView]) -> list[Forgotten]:
    """The loss off the task before and after, for the techniques where it was measured."""
    rows = []
    for view in views:
        off = view.result.off_task
        if off is None:
            continue
        change = off.after - off.before
        rows.append(
            Forgotten(
                view=view,
                before=f"{off.before:.3f}",
                after=f"{off.after:.3f}",
                change=amounts.difference(change, fraction=True),
                perplexity=_factor(change),
                tokens=amounts.count(off.tokens),
            )
        )
    return rows


def _factor(change: float) -> str:
    """exp(change): the factor by which the perplexity grew."""
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
