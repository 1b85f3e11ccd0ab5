"""The plots of the page, each drawn in a wide and a narrow size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from luthier.compare.comparison import Comparison, TechniqueResult
from luthier.records import PairedTest, Score
from luthier.report import amounts
from luthier.report.charts import (
    Curve,
    CurveMark,
    ForestRow,
    FrontierPoint,
    Quantity,
    forest,
    frontier,
    learning_curves,
    on_frontier,
    plain,
)
from luthier.report.metric_view import MetricView, metric_view_of_scores
from luthier.report.technique_view import (
    FAMILIES,
    TechniqueView,
    best_first,
    reference_views,
)


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot in two sizes (SVG markup), with the sentence under it."""

    name: str
    wide: str
    narrow: str
    caption: str = ""


def _quantity(metric_view: MetricView) -> Quantity:
    low, high = metric_view.bounds
    return Quantity(metric_view.name, metric_view.write, plain, low, high)


def interval_plot(
    comparison: Comparison, views: Sequence[TechniqueView], metric_view: MetricView
) -> Plot | None:
    """Every score with its interval, best first, and below them what needs no language model; None
    when nothing was scored."""
    rows = []
    references = best_first(reference_views(comparison), metric_view)
    for view in [*best_first(views, metric_view), *references]:
        score = view.result.score
        values = [r.score.value for r in view.finished_runs if r.score.value is not None]
        rows.append(
            ForestRow(
                view.name,
                score.value,
                score.low,
                score.high,
                shape=view.shape,
                cls=view.cls,
                ticks=tuple(values) if len(values) > 1 else (),
                tag=view.mark_words,
            )
        )
    if not rows:
        return None
    chance = comparison.task.chance
    shown = None
    if chance is not None and metric_view.name == "accuracy" and metric_view.fraction:
        shown = (chance, f"always the commonest label: {metric_view.write(chance)}")

    def draw(narrow: bool) -> str:
        return forest(
            rows,
            quantity=_quantity(metric_view),
            reference=shown,
            narrow=narrow,
            label=f"{metric_view.name} of each technique with its 95 % interval",
        )

    caption = f"{metric_view.name[:1].upper()}{metric_view.name[1:]} with 95 % intervals."
    if not metric_view.higher_is_better:
        caption += " Lower is better."
    if references:
        caption += " The grey ones at the end are references that need no language model."
    if any(row.ticks for row in rows):
        caption += " Ticks below a line are single seeds."
    if comparison.tests:
        caption += (
            " Intervals that overlap do not mean a tie: all techniques answered the same examples, "
            "and the paired differences below are the more sensitive test."
        )
    return Plot("intervals", draw(False), draw(True), caption)


def paired_plot(
    comparison: Comparison, views: Sequence[TechniqueView], metric_view: MetricView
) -> Plot | None:
    """Each technique minus the best one on the same examples; None without paired tests."""
    anchor = _anchor(comparison)
    if anchor is None:
        return None
    by_name = {view.name: view for view in views}
    rows = []
    for test in comparison.tests:
        if anchor not in (test.first, test.second):
            continue
        other, difference, low, high = _from_anchor(test, anchor)
        view = by_name.get(other)
        words = f"{metric_view.difference(difference)}"
        if low is not None and high is not None:
            words += f" ({metric_view.difference(low)} to {metric_view.difference(high)})"
        words += f", p = {amounts.probability(test.p_adjusted)}".replace("= <", "< ")
        rows.append(
            ForestRow(
                other,
                difference,
                low,
                high,
                words=words,
                shape=view.shape if view else "circle",
                cls=view.cls if view else "f-other",
                tag=view.mark if view and view.mark in ("pick", "tied") else "",
            )
        )
    rows.sort(
        key=lambda row: -(row.value or 0.0) if metric_view.higher_is_better else row.value or 0.0
    )

    def draw(narrow: bool) -> str:
        return forest(
            rows,
            reference=(0.0, f"same as {anchor}"),
            narrow=narrow,
            quantity=Quantity(metric_view.name, metric_view.difference, plain, signed=True),
            label=f"Difference in {metric_view.name} from {anchor}, on the same test examples",
        )

    caption = (
        f"{metric_view.name[:1].upper()}{metric_view.name[1:]} of each technique minus that of "
        f"{anchor}, on the same test examples. The 95 % intervals hold all together, and p is "
        f"adjusted for {amounts.plural(len(comparison.tests), 'comparison')}: where an interval "
        "holds 0, p is 0.05 or more."
    )
    return Plot("paired", draw(False), draw(True), caption)


def _anchor(comparison: Comparison) -> str | None:
    """The technique that the others are compared with: the best, else the pick, else the one with
    the most tests."""
    tested = [name for test in comparison.tests for name in (test.first, test.second)]
    for name in (comparison.verdict.best, comparison.verdict.pick):
        if name is not None and name in tested:
            return name
    return max(tested, key=tested.count) if tested else None


def _from_anchor(test: PairedTest, anchor: str) -> tuple[str, float, float | None, float | None]:
    """The other technique of a test, its difference from the anchor, and the interval of that."""
    if test.second == anchor:
        return test.first, test.difference, test.low, test.high
    low = None if test.high is None else -test.high
    high = None if test.low is None else -test.low
    return test.second, -test.difference, low, high


def cost_plots(
    comparison: Comparison, views: Sequence[TechniqueView], metric_view: MetricView
) -> list[Plot]:
    """Quality against each kind of cost that was measured for at least two techniques."""
    currency = comparison.plan.currency

    def money(value: float) -> str:
        return amounts.money(value, currency)

    def paid(number: str) -> str:
        return amounts.currency_sign(currency) + number

    def in_milliseconds(number: str) -> str:
        return f"{number}\u00a0ms"

    def in_total(value: float) -> str:
        return amounts.total(value, comparison.verdict.cost_unit, currency)

    requests = comparison.prices.requests
    kinds: list[tuple[Quantity, Callable[[TechniqueResult], float | None]]] = [
        (
            Quantity(
                f"one fit and {requests:,} requests",
                in_total,
                paid if comparison.verdict.cost_unit == "money" else None,
            ),
            lambda r: r.total_cost,
        ),
        (Quantity("cost of 1,000 requests", money, paid), lambda r: r.cost.per_1k_requests),
        (
            Quantity("cost of 1,000 requests with a prefix cache", money, paid),
            lambda r: r.cost.per_1k_requests_cached,
        ),
        (Quantity("tokens per request", amounts.count, plain), lambda r: r.cost.tokens_per_request),
        (
            Quantity("median latency", amounts.milliseconds, in_milliseconds),
            lambda r: r.cost.latency_p50_ms,
        ),
        (Quantity("time to fit", amounts.seconds), lambda r: r.cost.fit_seconds),
    ]
    plots = []
    for quantity, read in kinds:
        points = _points(views, read)
        if len(points) < 2:
            continue
        drawn = [
            frontier(
                points,
                cost=quantity,
                score=_quantity(metric_view),
                narrow=narrow,
                higher_is_better=metric_view.higher_is_better,
            )
            for narrow in (False, True)
        ]
        front = on_frontier(points, higher_is_better=metric_view.higher_is_better)
        names = ", ".join(p.name for p in front)
        caption = (
            f"On the frontier: {names}. Everything else costs more than one of these without "
            "a better score."
        )
        plots.append(Plot(quantity.name, drawn[0], drawn[1], caption))
    return plots


def _points(
    views: Sequence[TechniqueView], read: Callable[[TechniqueResult], float | None]
) -> list[FrontierPoint]:
    points = []
    for view in views:
        cost, score = read(view.result), view.result.score
        if cost is None or score.value is None:
            continue
        points.append(
            FrontierPoint(
                view.name,
                cost,
                score.value,
                score.low,
                score.high,
                cls=view.cls,
                shape=view.shape,
                strong=view.mark == "pick",
            )
        )
    return points


def curve_plot(comparison: Comparison, views: Sequence[TechniqueView]) -> Plot | None:
    """Learning curves; None when the comparison has none."""
    measured = [p for p in comparison.curve if p.score.value is not None]
    if not measured:
        return None
    scores = [p.score for p in measured] + [view.result.score for view in views if view.measured]
    metric_view = metric_view_of_scores(comparison.task.metric, scores)
    seeds = len({p.seed for p in measured})
    by_name = {view.name: view for view in views}
    dashes: dict[str, int] = {}
    curves = []
    for name in dict.fromkeys(p.technique for p in measured):
        view = by_name.get(name)
        cls, shape = (view.cls, view.shape) if view else ("f-other", "circle")
        dash = ("", "7 4", "2 4", "9 3 2 3")[dashes.get(cls, 0) % 4]
        dashes[cls] = dashes.get(cls, 0) + 1
        own = [(p.train_examples, p.score) for p in measured if p.technique == name]
        own += _all_examples(comparison, view, {p.seed for p in measured if p.technique == name})
        counts = sorted({count for count, _ in own})
        points = []
        for count in counts:
            scores = [score for examples, score in own if examples == count]
            values = [s.value for s in scores if s.value is not None]
            low, high = _bar(scores, seeds)
            points.append(CurveMark(count, fmean(values), low, high))
        curves.append(Curve(name, tuple(points), cls, shape, dash))

    def draw(narrow: bool) -> str:
        return learning_curves(curves, score=_quantity(metric_view), narrow=narrow)

    bars = (
        f"Points are means over {seeds} seeds; bars run from the lowest seed to the highest."
        if seeds > 1
        else "Bars are 95 % intervals."
    )
    return Plot(
        "curves",
        draw(False),
        draw(True),
        f"Fitted on growing parts of the training split, scored on the same test examples. {bars}",
    )


def _bar(scores: Sequence[Score], seeds: int) -> tuple[float | None, float | None]:
    """The range over seeds; with one seed in the whole plot, the interval of its score."""
    values = [s.value for s in scores if s.value is not None]
    if seeds == 1:
        return scores[0].low, scores[0].high
    return (min(values), max(values)) if len(values) > 1 else (None, None)


def _all_examples(
    comparison: Comparison, view: TechniqueView | None, seeds: set[int]
) -> list[tuple[int, Score]]:
    """The last point of a curve: the fits on all training examples."""
    whole = comparison.task.train_examples
    drawn = {p.train_examples for p in comparison.curve if view and p.technique == view.name}
    if view is None or whole in drawn:
        return []
    return [
        (whole, run.score)
        for run in view.finished_runs
        if run.seed in seeds and run.score.value is not None
    ]


def family_key(views: Sequence[TechniqueView]) -> list[tuple[str, str, str]]:
    """(family, class, shape) of every family on the page."""
    present = {view.result.family for view in views}
    return [(name, *FAMILIES[name]) for name in FAMILIES if name in present]
