"""A contact sheet as a part of a page, and what pictures add to the words of a study."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from luthier.report.terms_words import sentences_of, term_name

if TYPE_CHECKING:
    from markupsafe import Markup

    from luthier.scoring.terms import ContactSheet, PictureStudy

SHOWN = 0.02  # share of pixels; below it a term leaves the picture as it is
SIDE = 128  # pixels of a picture in the sheet, at most


def picture_sentences(found: PictureStudy) -> list[str]:
    """The words of a study of pictures: those of its effects, and what can be seen besides."""
    said, effects = sentences_of(found.study), found.study.effects.effects
    changes = {e.term: found.sheet.changed_by(e.term) for e in effects if not e.acts}
    still = [t for t, share in changes.items() if share is not None and share < SHOWN]
    moved = [t for t, share in changes.items() if share is not None and share >= SHOWN]
    if still:
        names = "; ".join(f"“{term_name(found.study, t)}”" for t in still)
        said.append(f"Does nothing, not even to the picture: {names}.")
    if moved:
        names = "; ".join(
            f"“{term_name(found.study, t)}” ({100 * (changes[t] or 0):.0f} % of the pixels)"
            for t in moved
        )
        said.append(f"Changes the picture and is not seen to change the score: {names}.")
    return said


def sheet_table(sheet: ContactSheet) -> Markup:
    """The sheet as a table: a row for each prompt, a column for each request and seed."""
    from markupsafe import Markup

    if not sheet.rows:
        return Markup("")
    head = Markup("").join(
        Markup('<th scope="col">{}</th>').format(_short(text)) for text in sheet.columns
    )
    rows = Markup("").join(
        Markup('<tr><th scope="row">{}<br><span class="small">{}</span></th>{}</tr>').format(
            row.name,
            f"{_mean(row.scores)}" + (f", {100 * row.changed:.0f} % changed" if number else ""),
            Markup("").join(
                _cell(picture, score, f"{row.name}: {column}")
                for picture, score, column in zip(
                    row.pictures, row.scores, sheet.columns, strict=True
                )
            ),
        )
        for number, row in enumerate(sheet.rows)
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="group" aria-label="Contact sheet">'
        '<table class="sheet"><thead><tr><td></td>{}</tr></thead><tbody>{}</tbody></table></div>'
        '<p class="small">A column is one request with one seed, a row one prompt. Beside a row: '
        "the mean score of its pictures, and how many pixels differ visibly from the first row. A "
        "red frame: a score under one half.</p>"
    ).format(head, rows)


def _cell(picture: object, score: float, words: str) -> Markup:
    from markupsafe import Markup

    from luthier.images.picture_files import png_bytes

    data = base64.b64encode(png_bytes(picture, side=SIDE)).decode()  # type: ignore[arg-type]
    return Markup('<td class="{}"><img src="data:image/png;base64,{}" alt="{}"></td>').format(
        "right" if score >= 0.5 else "wrong", data, f"{words} (score {score:.2f})"
    )


def _mean(scores: tuple[float, ...]) -> str:
    return f"{sum(scores) / len(scores):.2f}" if scores else "–"


def _short(text: str, most: int = 48) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
