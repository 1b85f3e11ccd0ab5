"""Which examples of a run are shown: two techniques side by side, filtered."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.compare.comparison import Comparison
from luthier.records import SampleScore
from luthier.report.technique_view import TechniqueView, technique_views

SHOW = {
    "disagree": "different answers",
    "first": "only A is right, or better",
    "second": "only B is right, or better",
    "wrong": "neither is right",
    "right": "both are right",
    "unread": "an answer that could not be read",
    "all": "every example",
}
A_PAGE = 25


@dataclass(frozen=True, slots=True)
class ShownExample:
    """One example with what two techniques answered."""

    number: int
    first: SampleScore
    second: SampleScore

    @property
    def id(self) -> str:
        """The example's id."""
        return self.first.example_id


@dataclass(frozen=True, slots=True)
class ExampleFilter:
    """What is asked for. `first` and `second` are names in the table; "" takes the best two."""

    first: str = ""
    second: str = ""
    show: str = "disagree"
    label: str = ""
    words: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True)
class ExampleTable:
    """The examples that a filter leaves, `rows` of the page that is shown, `total` of them all."""

    names: tuple[str, ...]
    first: TechniqueView | None
    second: TechniqueView | None
    rows: tuple[ShownExample, ...]
    matching: tuple[ShownExample, ...]
    total: int
    labels: tuple[str, ...]

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-len(self.matching) // A_PAGE))


def example_table(comparison: Comparison, asked: ExampleFilter) -> ExampleTable:
    """The table for a filter; empty where no technique has scored examples."""
    views = [v for v in technique_views(comparison) if v.run is not None and v.run.sample_scores]
    names = tuple(view.name for view in views)
    if not views:
        return ExampleTable((), None, None, (), (), 0, ())
    sign = 1 if views[0].result.score.higher_is_better else -1
    ranked = sorted(views, key=lambda v: -sign * (v.result.score.value or 0.0))
    first = next((v for v in views if v.name == asked.first), ranked[0])
    rest = [v for v in ranked if v is not first]
    second = next((v for v in views if v.name == asked.second), (rest or [first])[0])
    pairs = _pairs(first, second)
    labels = tuple(sorted({row.first.target for row in pairs}))
    few = labels if len(labels) <= 200 and len(labels) < len(pairs) else ()
    found = tuple(row for row in pairs if _matches(row, asked, sign))
    page = max(1, min(asked.page, -(-len(found) // A_PAGE) or 1))
    start = (page - 1) * A_PAGE
    rows = found[start : start + A_PAGE]
    return ExampleTable(names, first, second, rows, found, len(pairs), few)


def one_example(comparison: Comparison, id: str) -> list[tuple[TechniqueView, SampleScore]]:
    """What every technique answered to one example."""
    found = []
    for view in technique_views(comparison):
        samples = view.run.sample_scores if view.run is not None else ()
        found += [(view, sample) for sample in samples if sample.example_id == id]
    return found


def as_csv(table: ExampleTable) -> str:
    """Every example that the filter leaves, as a CSV file."""
    out = io.StringIO()
    names = [view.name if view else "" for view in (table.first, table.second)]
    writer = csv.writer(out)
    head = ["id", "input", "target"]
    for name in names:
        head += [f"{name}: answer", f"{name}: score"]
    writer.writerow(head)
    for row in table.matching:
        cells = [row.id, row.first.input, row.first.target]
        for sample in (row.first, row.second):
            cells += [answer_of(sample), f"{sample.value:g}"]
        writer.writerow([_plain(cell) for cell in cells])
    return out.getvalue()


def answer_of(sample: SampleScore) -> str:
    """What was answered: the prediction, or the raw text where none could be read."""
    return sample.raw if sample.prediction is None else sample.prediction


def _plain(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") and not _number(cell) else cell


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _pairs(first: TechniqueView, second: TechniqueView) -> list[ShownExample]:
    assert first.run is not None
    assert second.run is not None
    others = {sample.example_id: sample for sample in second.run.sample_scores}
    samples: Sequence[SampleScore] = first.run.sample_scores
    return [
        ShownExample(number, sample, others[sample.example_id])
        for number, sample in enumerate(samples, 1)
        if sample.example_id in others
    ]


def _matches(row: ShownExample, asked: ExampleFilter, sign: int) -> bool:
    a, b = row.first, row.second
    if asked.label and a.target != asked.label:
        return False
    if asked.words:
        text = " ".join((a.input, a.target, answer_of(a), answer_of(b))).casefold()
        if asked.words.casefold() not in text:
            return False
    gain = sign * (a.value - b.value)
    return {
        "disagree": answer_of(a) != answer_of(b),
        "first": gain > 0,
        "second": gain < 0,
        "wrong": a.value < 1 and b.value < 1,
        "right": a.value >= 1 and b.value >= 1,
        "unread": not (a.parseable and b.parseable),
    }.get(asked.show, True)
