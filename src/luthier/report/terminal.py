"""The comparison in the terminal: a table, the verdict in words, and why a technique has no row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.compare.comparison import Comparison
from luthier.report import amounts
from luthier.report.how_to_use import how_to_use
from luthier.report.metric_view import MetricView, metric_view_of
from luthier.report.sections.tool_traces import call_sentences
from luthier.report.technique_view import (
    TEST_SET,
    TechniqueView,
    advice_sentences,
    answer_notes,
    by_base,
    headline,
    in_groups,
    reference_views,
    refit_sentence,
    technique_views,
    tie_sentence,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table

UNEVEN = 1.5  # times the share of a label where all are equally common
_LONGEST_NAME = 24  # columns; longer ones are folded
_TEST_SET_SIGNS = dict(zip(TEST_SET.values(), ("†", "✓", "?"), strict=True))
_MARKS = {"pick": "►", "tied": "=", "best": "·", "untried": "~", "": " "}


def terminal_table(comparison: Comparison) -> RenderableType:
    """A rich renderable that fits the width of the console by leaving out columns."""
    return _Terminal(comparison)


@dataclass(frozen=True, slots=True)
class _Column:
    """Where the console is too narrow, the column with the lowest `drop` goes first; 0 stays."""

    heading: str
    cell: Callable[[TechniqueView], str]
    drop: int = 0


@dataclass(frozen=True, slots=True)
class _Terminal:
    comparison: Comparison

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.padding import Padding
        from rich.text import Text

        comparison = self.comparison
        metric_view = metric_view_of(comparison)
        views = technique_views(comparison)
        measured, unfinished = in_groups(views)
        references, failed = in_groups(reference_views(comparison))
        unfinished += failed
        plural = "s" if len(comparison.bases) > 1 else ""
        title = Text.assemble((comparison.task.name, "bold"), (f"  base model{plural} ", "dim"))
        title.append(" and ".join(base.name for base in comparison.bases))
        title.append(f"  {comparison.plan.test_examples:,} test examples", "dim")
        yield title
        if measured:
            columns = _columns(comparison, metric_view)
            shown = _fitting(columns, [*measured, *references], options.max_width)
            yield _table(shown, by_base(comparison, measured), references)
            yield Text(_legend(columns, shown, measured, comparison.prices.requests), "dim")
            for said in dict.fromkeys(v.test_set for v in measured if v.test_set):
                yield Text(f"{_TEST_SET_SIGNS[said]} {said} (luthier probe)", "dim")
        yield Text()
        yield Text(headline(comparison), "bold green" if comparison.verdict.pick else "bold")
        for sentence in _verdict(comparison):
            yield Padding(Text(sentence), (0, 0, 0, 2))
        usage = how_to_use(comparison)
        if usage is not None:
            yield Text()
            yield Text("How to use it", "bold")
            yield Padding(Text(usage.ask), (0, 0, 0, 2))
            yield Padding(Text(usage.folder_words), (0, 0, 0, 2))
        if unfinished:
            yield Text()
            yield Text("Not run, or not to the end", "bold")
            for view in unfinished:
                words = Text.assemble((view.name, "bold"), (f", {view.status_words}: ", "dim"))
                yield Padding(words.append(view.reason), (0, 0, 0, 2))
        for heading, sentences in (
            ("Calls of tools", call_sentences(comparison)),
            ("Advised beforehand", advice_sentences(comparison)),
            ("About the answers", answer_notes(views)),
            ("What to try next", comparison.verdict.next_steps),
            ("About the data", comparison.task.notes),
        ):
            if sentences:
                yield Text()
                yield Text(heading, "bold")
                for sentence in sentences:
                    yield Padding(_Bullet(sentence), (0, 0, 0, 2))


@dataclass(frozen=True, slots=True)
class _Bullet:
    """A line with a hanging indent."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        grid.add_row("-", Text(self.text))
        yield grid


def _columns(comparison: Comparison, metric_view: MetricView) -> list[_Column]:
    currency = comparison.plan.currency
    cut = [_Column("cut", lambda view: amounts.rate(view.result.cut_answers))]
    any_cut = any(result.cut_answers for result in comparison.results)
    return [
        _Column("technique", _name),
        _Column(f"{metric_view.name} [95 %]", lambda view: _score(view, metric_view)),
        *_macro_f1(comparison),
        *_passes(comparison),
        _Column("parsed", lambda view: amounts.rate(view.result.parse_rate.value), drop=5),
        *(cut if any_cut else []),
        _Column("fit", lambda view: _short(amounts.seconds(view.result.cost.fit_seconds))),
        _Column(
            "params", lambda view: amounts.scaled(view.result.cost.trainable_parameters), drop=3
        ),
        _Column("size", lambda view: amounts.size(view.result.cost.artifact_bytes), drop=7),
        _Column(
            "total",
            lambda view: amounts.total(
                view.result.total_cost, comparison.verdict.cost_unit, currency
            ),
            drop=8,
        ),
        _Column("tokens", lambda view: amounts.count(view.result.cost.tokens_per_request), drop=4),
        _Column("p50", lambda view: amounts.milliseconds(view.result.cost.latency_p50_ms), drop=2),
        _Column(
            "1k req", lambda view: amounts.money(view.result.cost.per_1k_requests, currency), drop=1
        ),
    ]


def _macro_f1(comparison: Comparison) -> list[_Column]:
    """Where labels are uneven, accuracy alone hides the rare ones."""
    task = comparison.task
    if task.metric != "accuracy" or task.chance is None or not task.labels:
        return []
    if task.chance < UNEVEN / len(task.labels):
        return []
    return [_Column("macro-F1", lambda view: _mean_secondary(view, "macro-f1"), drop=6)]


def _mean_secondary(view: TechniqueView, metric: str) -> str:
    values = [
        score.value
        for run in view.finished_runs
        for score in run.secondary
        if score.metric == metric and score.value is not None
    ]
    return amounts.score(sum(values) / len(values) if values else None, fraction=True)


def _passes(comparison: Comparison) -> list[_Column]:
    if all(result.epochs is None for result in comparison.results):
        return []
    return [_Column("passes", lambda view: amounts.passes(view.result.epochs), drop=4)]


def _name(view: TechniqueView) -> str:
    name = view.name_in_group
    return f"└ {name}" if view.result.part_of else name


def _score(view: TechniqueView, metric_view: MetricView) -> str:
    """0.847 [0.781–0.896]; without an interval the number alone."""
    score = view.result.score
    interval = metric_view.interval(score)
    value = metric_view.write(score.value)
    written = value if interval == amounts.UNMEASURED else f"{value} [{interval}]"
    return f"{written} {_TEST_SET_SIGNS[view.test_set]}" if view.test_set else written


def _short(duration: str) -> str:
    """`1 min 44 s` as `1m44s`: a column is narrow."""
    for word, letter in (("min", "m"), ("\u00a0", ""), (" ", "")):
        duration = duration.replace(word, letter)
    return duration


def _width(column: _Column, views: Sequence[TechniqueView]) -> int:
    from rich.cells import cell_len

    return max(cell_len(column.heading), *(cell_len(column.cell(view)) for view in views))


def _fitting(
    columns: Sequence[_Column], views: Sequence[TechniqueView], width: int
) -> list[_Column]:
    """The columns that fit into `width`; long names may still have to be folded."""
    shown = list(columns)
    while True:
        # The mark, then two spaces between columns; a long name is folded before a column goes.
        names = min(_width(shown[0], views), _LONGEST_NAME)
        needed = 3 + names + sum(_width(c, views) + 2 for c in shown[1:])
        droppable = sorted((c for c in shown if c.drop), key=lambda c: c.drop)
        if needed <= width or not droppable:
            return shown
        shown.remove(droppable[0])


def _table(
    columns: Sequence[_Column],
    groups: Sequence[tuple[str, list[TechniqueView]]],
    references: Sequence[TechniqueView],
) -> Table:
    """The techniques, under the name of their base where there are several, and, under a line, what
    needs no language model."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False,
        header_style="dim",
    )  # fmt: skip
    table.add_column(width=1)
    table.add_column(
        columns[0].heading,
        overflow="fold",
        min_width=min(
            _width(columns[0], [*(v for _, own in groups for v in own), *references]), _LONGEST_NAME
        ),
    )
    for column in columns[1:]:
        table.add_column(Text(column.heading), justify="right", no_wrap=True)
    styles = {"pick": "bold green", "tied": "bold", "best": "bold"}
    for base, views in groups:
        if base:
            table.add_section()
            table.add_row("", Text(base, "italic"))
        for view in views:
            cells = [Text(_MARKS[view.mark]), *(Text(column.cell(view)) for column in columns)]
            table.add_row(*cells, style=styles.get(view.mark, "dim" if view.result.part_of else ""))
    if references:
        table.add_section()
        table.add_row("", Text("no language model", "dim italic"))
    for view in references:
        table.add_row("", *(Text(column.cell(view)) for column in columns))
    return table


def _legend(
    columns: Sequence[_Column],
    shown: Sequence[_Column],
    views: Sequence[TechniqueView],
    requests: int,
) -> str:
    marks = {view.mark for view in views}
    parts = []
    if "pick" in marks:
        parts.append("► pick")
    if "tied" in marks:
        parts.append("= tied with the best")
    if "best" in marks:
        parts.append("· highest score")
    if "untried" in marks:
        parts.append("~ undertrained: not judged")
    parts.append("– not measured")
    if any(column.heading == "cut" for column in shown):
        parts.append("cut: answers cut at the limit of new tokens")
    if any(column.heading == "total" for column in shown):
        parts.append(f"total: one fit and {requests:,} requests")
    hidden = [c.heading for c in columns if c not in shown]
    if hidden:
        parts.append(f"no room here for {', '.join(hidden)}")
    return "   ".join(parts)


def _verdict(comparison: Comparison) -> list[str]:
    verdict = comparison.verdict
    sentences = [verdict.because, verdict.not_tried, tie_sentence(comparison), verdict.reference]
    if verdict.break_even_requests:
        sentences.append(
            f"It has paid for its fit against the best prompt after "
            f"{amounts.plural(verdict.break_even_requests, 'request')}."
        )
    sentences.append(refit_sentence(comparison))
    return [sentence for sentence in sentences if sentence]
