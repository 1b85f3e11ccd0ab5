"""The effect plot of a study of terms: one HTML file that opens offline."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from luthier.errors import StorageError
from luthier.report import amounts
from luthier.report.charts import ForestRow, Quantity, forest
from luthier.report.html import GENERATOR, stylesheet
from luthier.report.metric_view import metric_name
from luthier.report.sheet_view import picture_sentences, sheet_table
from luthier.report.terms_words import sentences_of, term_name
from luthier.scoring.terms import PictureStudy, TermStudy


def write_terms_page(study: TermStudy | PictureStudy, path: str | Path) -> Path:
    """Write the page, completely or not at all; StorageError where that fails or where the file is
    not one of ours."""
    target = Path(path)
    if target.is_file() and GENERATOR not in target.read_bytes()[:4096]:
        raise StorageError(
            f"{target} is to be replaced by the plot, and Luthier did not write it",
            next_step="Nothing was touched. Give another path with --out.",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(terms_page(study))
        Path(scratch).chmod(0o644)
        os.replace(scratch, target)
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}",
            next_step="Give another path with --out.",
        ) from error
    return target


def terms_page(found: TermStudy | PictureStudy) -> str:
    """The page as one HTML document; of pictures it holds the contact sheet."""
    from markupsafe import Markup, escape

    sheet = Markup("")
    if isinstance(found, PictureStudy):
        study, sentences, sheet = found.study, picture_sentences(found), sheet_table(found.sheet)
    else:
        study, sentences = found, sentences_of(found)
    rows = [
        ForestRow(
            term_name(study, effect.term),
            effect.value,
            effect.low,
            effect.high,
            cls="f-adapter" if effect.acts else "f-other",
            shape="circle" if effect.acts else "diamond",
            tag="acts" if effect.acts else "",
        )
        for effect in sorted(study.effects.effects, key=lambda e: -abs(e.value))
    ]
    fraction = study.metric not in ("perplexity", "loss")
    quantity = Quantity(
        f"effect on {metric_name(study.metric)}",
        lambda value: amounts.difference(value, fraction=fraction),
        signed=True,
    )
    plots = [
        forest(
            rows, quantity=quantity, label="Effects of terms", narrow=narrow, reference=(0.0, "")
        )
        for narrow in (False, True)
    ]
    said = Markup("").join(Markup("<p>{}</p>").format(text) for text in sentences)
    title = escape(f"Which words do it: {study.task} on {study.model}")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'{GENERATOR.decode()}<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{stylesheet()}</style></head><body><main>"
        f'<section><h2>{title}</h2><figure><div class="wide">{plots[0]}</div>'
        f'<div class="narrow">{plots[1]}</div></figure>{said}{sheet}'
        "</section></main></body></html>\n"
    )
