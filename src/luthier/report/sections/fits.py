"""What each fit did: the settings it chose, what it spent, and how its metrics changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.compare.comparison import Run, TechniqueResult
from luthier.records import FitRecord
from luthier.report import amounts
from luthier.report.charts import sparkline
from luthier.report.metric_view import MetricView, metric_view_of_scores
from luthier.report.technique_view import TechniqueView

_CLOCKS = ("step", "trial", "round", "epoch", "evaluation")
_NEVER_DRAWN = {"seed", "epoch", "lr", "learning_rate", "tokens", "seconds", "spent_tokens"}
_MOST_SERIES = 3
_MOST_STEPS = 24
_MOST_CHARACTERS = 280


@dataclass(frozen=True, slots=True)
class FitFact:
    """A row of a technique's table: a name and one cell for each seed. Where `drawn`, the cells are
    drawings (SVG markup)."""

    name: str
    cells: tuple[str, ...]
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class HistoryTable:
    """The history of one seed as a table, thinned out to a readable number of its `of` steps."""

    seed: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    of: int


@dataclass(frozen=True, slots=True)
class FitView:
    """All that is shown of one technique's fits."""

    view: TechniqueView
    settings: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    facts: tuple[FitFact, ...]
    history: HistoryTable | None
    notes: tuple[str, ...]


def fits(views: Sequence[TechniqueView], metric_view: MetricView) -> list[FitView]:
    """One entry for each technique that was at least begun."""
    return [_fit(view, metric_view) for view in views if view.result.runs]


def _fit(view: TechniqueView, metric_view: MetricView) -> FitView:
    runs = view.result.runs
    facts = [
        FitFact("test " + metric_view.name, tuple(metric_view.write(r.score.value) for r in runs)),
        *_secondary(runs),
        FitFact(_dev_name(runs, metric_view), tuple(metric_view.write(r.dev_score) for r in runs)),
        FitFact("fit time", tuple(amounts.seconds(r.fit.fit_seconds) for r in runs)),
        FitFact("training examples used", tuple(amounts.count(_examples(r)) for r in runs)),
        FitFact("tokens spent", tuple(amounts.scaled(r.fit.spent_tokens) for r in runs)),
        FitFact("peak memory", tuple(amounts.size(r.fit.peak_memory_bytes) for r in runs)),
    ]
    kept = [f for f in facts if any(cell != amounts.UNMEASURED for cell in f.cells)]
    if any(r.status != "finished" for r in runs):
        kept.insert(0, FitFact("status", tuple(_status(r) for r in runs)))
    shown = {fact.name for fact in kept}
    each = [_settled(r.fit) for r in runs]
    kept += [
        FitFact(_words(key), tuple(_plain(settled.get(key)) for settled in each))
        for key in dict.fromkeys(key for settled in each for key in settled)
        if _words(key) not in shown
    ]
    kept += _curves(runs)
    notes = dict.fromkeys(note for r in runs for note in (*_notes(r.fit), *r.notes))
    return FitView(
        view=view,
        settings=tuple(
            (_words(k), _plain(v)) for k, v in _settings(view.result).items() if v is not None
        ),
        seeds=tuple(r.seed for r in runs),
        facts=tuple(kept),
        history=_history_table(view.run or runs[0]),
        notes=tuple(notes),
    )


def _dev_name(runs: Sequence[Run], metric_view: MetricView) -> str:
    """What the dev score of these fits is: the task's metric, or what training watches."""
    fits = [r.fit.parts[-1].fit if r.fit.parts else r.fit for r in runs]
    if all(fit.training is None for fit in fits) or runs[0].fit.parts:
        return f"dev {metric_view.name}"
    return "dev score that training watches"


def _secondary(runs: Sequence[Run]) -> list[FitFact]:
    facts = []
    for metric in dict.fromkeys(score.metric for run in runs for score in run.secondary):
        found = [next((s for s in run.secondary if s.metric == metric), None) for run in runs]
        metric_view = metric_view_of_scores(metric, [s for s in found if s is not None])
        cells = tuple(metric_view.write(None if s is None else s.value) for s in found)
        facts.append(FitFact("test " + metric_view.name, cells))
    return facts


def _examples(run: Run) -> int | None:
    return run.train_examples if run.train_examples is not None else run.fit.train_examples


def _status(run: Run) -> str:
    return run.status + (f": {run.reason}" if run.reason else "")


def _settings(result: TechniqueResult) -> Mapping[str, Any]:
    return result.settings or (result.runs[0].settings if result.runs else {})


def _settled(fit: FitRecord) -> dict[str, Any]:
    """What a fit chose and how it trained; of a recipe, the same for each step."""
    found = {} if fit.training is None else dataclasses.asdict(fit.training)
    found |= fit.settled
    return found | {f"{i} {p.step}": _settled(p.fit) for i, p in enumerate(fit.parts, 1)}


def _notes(fit: FitRecord) -> list[str]:
    return [*(f"Not indexed: {document}" for document in fit.unread_documents), *fit.notes]


def _history(run: Run) -> list[dict[str, Any]]:
    """What was measured at each step, by name."""
    steps = (dataclasses.asdict(step) for step in run.fit.history)
    return [{name: v for name, v in step.items() if v is not None} for step in steps]


def _clock(history: Sequence[Mapping[str, Any]]) -> str | None:
    if not history:
        return None
    return next((c for c in _CLOCKS if all(_is_number(step.get(c)) for step in history)), None)


def _curves(runs: Sequence[Run]) -> list[FitFact]:
    """A row for each loss or score that changed in any seed; without any, for other numbers that
    did."""
    names: dict[str, None] = {}
    for run in runs:
        history = _history(run)
        clock = _clock(history)
        for step in history:
            for key, value in step.items():
                if key != clock and key not in _NEVER_DRAWN and _is_number(value):
                    names.setdefault(key)
    telling = [n for n in names if "loss" in n or "score" in n]
    ranked = sorted(telling or names, key=lambda n: "loss" not in n)
    facts = []
    for name in ranked[:_MOST_SERIES]:
        cells = tuple(_spark(run, name) for run in runs)
        if any(cells):
            facts.append(FitFact(_words(name), cells, drawn=True))
    return facts


def _spark(run: Run, name: str) -> str:
    history = _history(run)
    clock = _clock(history)
    values = [
        (float(step[clock]) if clock else float(index), float(step[name]))
        for index, step in enumerate(history)
        if _is_number(step.get(name))
    ]
    values.sort(key=lambda pair: pair[0])
    write: Callable[[float], str] = amounts.number
    drawn = sparkline(values, name=_words(name), write=write)
    if not drawn:
        return ""
    ends = f"{write(values[0][1])} → {write(values[-1][1])}"
    return f'{drawn}<span class="ends">{ends}</span>'


def _history_table(run: Run) -> HistoryTable | None:
    history = _history(run)
    if not history:
        return None
    every = -(-len(history) // _MOST_STEPS)
    kept = list(history[::every])
    if history[-1] is not kept[-1]:
        kept.append(history[-1])
    columns = tuple(dict.fromkeys(key for step in kept for key in step))
    rows = tuple(tuple(_plain(step.get(c)) for c in columns) for step in kept)
    return HistoryTable(run.seed, tuple(map(_words, columns)), rows, len(history))


def _is_number(value: Any) -> bool:
    counts = isinstance(value, (int, float)) and not isinstance(value, bool)
    return counts and not amounts.missing(value)


def _words(key: str) -> str:
    return str(key).replace("_", " ")


def _plain(value: Any) -> str:
    """A setting as a reader writes it."""
    if value is None:
        return amounts.UNMEASURED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return amounts.count(value)
    if isinstance(value, float):
        if 0 < abs(value) < 0.001:
            return f"{value:.2g}"
        text = amounts.number(value, digits=4)
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, str):
        text = value
    elif isinstance(value, Sequence) and all(isinstance(v, (str, int, float)) for v in value):
        text = ", ".join(str(v) for v in value) if value else "none"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1].rstrip() + "…"
