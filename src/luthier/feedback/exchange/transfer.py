"""Import and export: the format is named or found, good rows are kept, bad ones are told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import FeedbackError, did_you_mean
from luthier.feedback.exchange.argilla_format import ARGILLA
from luthier.feedback.exchange.file_rows import BadRow, read_rows, write_rows
from luthier.feedback.exchange.judged import ExchangeFormat, JudgedItem, Origin, Row
from luthier.feedback.exchange.label_studio_format import LABEL_STUDIO
from luthier.feedback.exchange.tuning_formats import KTO, PREFERENCE, RATINGS
from luthier.ledger.check_opinion import check_opinion
from luthier.ledger.feedback_store import FeedbackStore

FORMATS: dict[str, ExchangeFormat] = {
    format.name: format for format in (PREFERENCE, RATINGS, ARGILLA, LABEL_STUDIO, KTO)
}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. `bad` rows were left out; `place` is what their numbers count."""

    format: str
    rows: int
    new_items: int
    new_opinions: int
    known_opinions: int
    bad: tuple[BadRow, ...]
    place: str
    notes: tuple[str, ...] = ()


def import_opinions(
    store: FeedbackStore, path: str | Path, *, origin: Origin, format: str | None = None
) -> ImportReport:
    """Take the rows of a file into the store.

    `format` None takes the first of `FORMATS` that a row has the shape of. FeedbackError where the
    file cannot be read, no format is known, or no row is usable.
    """
    path = Path(path)
    rows, bad, place = read_rows(path)
    chosen = named_format(format) if format is not None else _find(rows, path)
    judged: list[JudgedItem] = []
    for number, row in rows:
        try:
            found = _read(chosen, row, origin)
        except FeedbackError as error:
            bad.append(BadRow(number, error.problem))
            continue
        judged.append(found)
    if not judged:
        first = f"; {place} {bad[0].place}: {bad[0].reason}" if bad else ""
        raise FeedbackError(
            f"{path} has no usable row{first}", next_step=f"Give rows of the shape {chosen.name!r}."
        )
    new_items = store.add_items(j.item for j in judged)
    opinions = [opinion for j in judged for opinion in j.opinions]
    new = store.add_opinions(opinions)
    return ImportReport(
        chosen.name, len(rows), new_items, new, len(opinions) - new, tuple(bad), place,
        tuple(_notes(judged)),
    )  # fmt: skip


def export_opinions(store: FeedbackStore, path: str | Path, *, format: str) -> int:
    """Write what the store holds; returns how many rows. FeedbackError where there is none."""
    chosen = named_format(format)
    by_item: dict[str, list[object]] = {}
    for opinion in store.opinions():
        by_item.setdefault(opinion.item, []).append(opinion)
    rows: list[Row] = []
    for item in store.items():
        rows += chosen.write(JudgedItem(item, tuple(by_item.get(item.id, ()))))  # type: ignore[arg-type]
    if not rows:
        raise FeedbackError(
            f"The store holds nothing that the format {format!r} can say",
            choices=tuple(FORMATS),
            next_step="Choose another format, or annotate first.",
        )
    write_rows(Path(path), rows, lines=chosen.lines)
    return len(rows)


def named_format(name: str) -> ExchangeFormat:
    """The format of that name; FeedbackError with the choices where there is none."""
    if name not in FORMATS:
        raise FeedbackError(
            f"There is no format {name!r}",
            choices=tuple(FORMATS),
            next_step=did_you_mean(name, FORMATS) or "Name one of these.",
        )
    return FORMATS[name]


def _read(format: ExchangeFormat, row: Row, origin: Origin) -> JudgedItem:
    try:
        judged = format.read(row, origin)
    except KeyError as error:
        raise FeedbackError(f"the field {error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise FeedbackError(f"it has not the shape of {format.name!r} ({error})") from error
    for opinion in judged.opinions:
        check_opinion(opinion, judged.item)
    return judged


def _find(rows: list[tuple[int, dict[str, object]]], path: Path) -> ExchangeFormat:
    for _, row in rows:
        for format in FORMATS.values():
            if format.fits(row):
                return format
    raise FeedbackError(
        f"{path} has no row of a known shape",
        choices=tuple(FORMATS),
        next_step="Name its format, and see the guide of feedback for the fields of each.",
    )


def _notes(judged: list[JudgedItem]) -> list[str]:
    """What a reader should know before anything is trained on these opinions."""
    notes = []
    kinds = Counter(o.kind for j in judged for o in j.opinions)
    thumbs = {o.value for j in judged for o in j.opinions if o.kind == "thumb"}
    ties = sum(o.is_tie for j in judged for o in j.opinions)
    if len(thumbs) == 1 and kinds["thumb"] > 1:
        side = "up" if thumbs == {1.0} else "down"
        notes.append(f"All {kinds['thumb']} thumbs are {side}: KTO learns from both kinds.")
    if ties and ties == kinds["preference"]:
        notes.append(f"All {ties} preferences are ties: they teach no order.")
    return notes
