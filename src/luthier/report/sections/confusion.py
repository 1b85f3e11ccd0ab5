"""Confusion matrices: how often each label was predicted (columns) for each true label (rows)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.records import SampleScore
from luthier.report.technique_view import TechniqueView

_MOST_LABELS = 16  # a larger matrix is unreadable; the list of confusions says more
_MOST_CONFUSIONS = 12


@dataclass(frozen=True, slots=True)
class Cell:
    """`count` examples, which are `share` percent of the row's; the share is for shading."""

    count: int
    share: int
    right: bool


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One true label. `recall` is None where the label does not occur in the test split."""

    label: str
    cells: tuple[Cell, ...]
    total: int
    recall: float | None


@dataclass(frozen=True, slots=True)
class Matrix:
    """One technique's confusions. `hidden_labels` were left out of the matrix, not of `worst`.

    `worst` holds (true label, prediction, count), commonest first.
    """

    view: TechniqueView
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    hidden_labels: int
    worst: tuple[tuple[str, str, int], ...]
    errors: int
    total: int


UNREADABLE = "(unreadable)"
OTHER = "(other)"


def matrices(views: Sequence[TechniqueView], labels: Sequence[str]) -> list[Matrix]:
    """One for each technique with scored examples; none where the task has no labels."""
    if not labels:
        return []
    matrices = []
    for view in views:
        run = view.run
        if run is not None and run.sample_scores:
            matrices.append(_matrix(view, run.sample_scores, labels))
    return matrices


def _matrix(
    view: TechniqueView, sample_scores: Sequence[SampleScore], labels: Sequence[str]
) -> Matrix:
    pairs = Counter((sample.target, _predicted(sample, labels)) for sample in sample_scores)
    wrong = Counter({pair: n for pair, n in pairs.items() if pair[0] != pair[1]})
    shown = _shown(labels, wrong)
    columns = list(shown)
    if len(shown) < len(labels) or any(predicted == OTHER for _, predicted in pairs):
        columns.append(OTHER)
    if any(predicted == UNREADABLE for _, predicted in pairs):
        columns.append(UNREADABLE)
    rows = []
    for label in shown:
        counts = Counter[str]()
        for (target, predicted), n in pairs.items():
            if target == label:
                counts[predicted if predicted in shown or predicted == UNREADABLE else OTHER] += n
        total = sum(counts.values())
        cells = tuple(
            Cell(counts[c], round(100 * counts[c] / total) if total else 0, c == label)
            for c in columns
        )
        rows.append(MatrixRow(label, cells, total, counts[label] / total if total else None))
    return Matrix(
        view=view,
        columns=tuple(columns),
        rows=tuple(rows),
        hidden_labels=len(labels) - len(shown),
        worst=tuple((t, s, n) for (t, s), n in wrong.most_common(_MOST_CONFUSIONS)),
        errors=wrong.total(),
        total=len(sample_scores),
    )


def _predicted(sample: SampleScore, labels: Sequence[str]) -> str:
    if sample.prediction is None:
        return UNREADABLE
    return sample.prediction if sample.prediction in labels else OTHER


def _shown(labels: Sequence[str], wrong: Counter[tuple[str, str]]) -> list[str]:
    """All labels, or where there are too many those most involved in errors, in order."""
    if len(labels) <= _MOST_LABELS:
        return list(labels)
    involved = Counter[str]()
    for (target, predicted), n in wrong.items():
        involved[target] += n
        involved[predicted] += n
    ranked = sorted(labels, key=lambda label: -involved[label])[:_MOST_LABELS]
    return [label for label in labels if label in set(ranked)]
