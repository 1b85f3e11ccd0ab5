"""Drawn pictures: a grid of techniques on the same requests, each request from one noise, and the
worst pictures of the pick."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import pvariance

from luthier.compare.comparison import Comparison, TechniqueResult
from luthier.errors import UserError
from luthier.records import Kind, SampleScore

COLUMNS = 8  # requests of the grid
WORST = 12
SIDE = 128  # pixels of a picture in the page, at most


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture: a data URI (None where its file is gone), whether it is right, and in words what
    is wrong with it."""

    source: str | None
    request: str
    right: bool
    words: str


@dataclass(frozen=True, slots=True)
class DrawnRow:
    """The pictures of one technique, one for each request of the grid."""

    technique: str
    pictures: tuple[Drawn, ...]


@dataclass(frozen=True, slots=True)
class DrawnPictures:
    """The section: the grid's requests and rows, and the worst pictures of `worst_of`."""

    requests: tuple[str, ...]
    rows: tuple[DrawnRow, ...]
    worst_of: str
    worst: tuple[Drawn, ...]
    wrong: int
    total: int


def drawn_pictures(comparison: Comparison) -> DrawnPictures | None:
    """The pictures of a comparison; None for a task of text, and where nothing was drawn."""
    if comparison.task.kind != str(Kind.IMAGE):
        return None
    samples = {r.technique: _samples(r) for r in comparison.results}
    samples = {technique: found for technique, found in samples.items() if found}
    if not samples:
        return None
    chosen = _telling(list(samples.values()))
    rows = tuple(
        DrawnRow(technique, tuple(_drawn(found[key]) for key in chosen if key in found))
        for technique, found in samples.items()
    )
    pick = comparison.verdict.pick
    worst_of = pick if pick in samples else next(iter(samples))
    ranked = sorted(samples[worst_of].values(), key=lambda s: s.value)
    wrong = [s for s in ranked if s.value < 1.0]
    first = next(iter(samples.values()))
    return DrawnPictures(
        requests=tuple(first[key].input for key in chosen),
        rows=rows,
        worst_of=worst_of,
        worst=tuple(_drawn(sample) for sample in wrong[:WORST]),
        wrong=len(wrong),
        total=len(ranked),
    )


def _samples(result: TechniqueResult) -> dict[str, SampleScore]:
    """What the seed that answers drew, by example."""
    runs = [run for run in result.runs if run.sample_scores]
    best = [run for run in runs if run.seed == result.best_seed] or runs
    return {s.example_id: s for s in best[0].sample_scores} if best else {}


def _telling(samples: Sequence[dict[str, SampleScore]]) -> list[str]:
    """The examples on which techniques differ most, among those that all of them drew; equal ones
    in their order."""
    common = [key for key in samples[0] if all(key in found for found in samples)]
    spread = {key: pvariance([found[key].value for found in samples]) for key in common}
    return sorted(common, key=lambda key: -spread[key])[:COLUMNS]


def _drawn(sample: SampleScore) -> Drawn:
    right = sample.value >= 1.0
    lacks = f" ({'; '.join(sample.remarks)})" if sample.remarks and not right else ""
    words = f"{'right' if right else f'score {sample.value:.2f}'}{lacks}"
    return Drawn(_data_uri(sample.prediction), sample.input, right, words)


def _data_uri(path: str | None) -> str | None:
    from luthier.images.picture_files import open_picture, png_bytes

    if not path:
        return None
    try:
        content = png_bytes(open_picture(path), side=SIDE)
    except UserError:
        return None
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
