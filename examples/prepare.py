"""Rows for the examples whose data needs a little preparation, and a scorer of style.

A task file names these functions: `data: prepare.py:headlines`. They take no arguments and yield
one dict a row.
"""

from __future__ import annotations

import ast
import csv
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from luthier.errors import TaskError
from luthier.task.bundled import bundled_rows


def _data_file(*parts: str, source: str) -> Path:
    folder = os.environ.get("LUTHIER_DATA")
    path = Path(folder or ".").joinpath(*parts)
    if not folder or not path.is_file():
        raise TaskError(
            f"there is no file {path}" if folder else "LUTHIER_DATA is not set",
            next_step=f"Download it from {source}, put it at {'/'.join(parts)} in a folder of your "
            "choice, and set LUTHIER_DATA to that folder.",
        )
    return path


def headlines() -> Iterator[dict[str, str]]:
    """SEntFiN headlines that name one company, with the sentiment towards it."""
    path = _data_file("sentfin", "SEntFiN.csv", source="github.com/pyRis/SEntFiN")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream):
            try:
                decisions = ast.literal_eval(row["Decisions"])
            except (SyntaxError, ValueError):
                continue  # 13 rows name a company with an apostrophe, and all of them name several
            if len(decisions) == 1:
                yield {"headline": row["Title"], "sentiment": next(iter(decisions.values()))}


def questions() -> Iterator[dict[str, str]]:
    """XQuAD in English: questions with a short answer that stands in a paragraph of Wikipedia."""
    for paragraph, name in _paragraphs():
        for asked in paragraph["qas"]:
            yield {
                "question": asked["question"],
                "answer": asked["answers"][0]["text"],
                "passage": paragraph["context"],
                "paragraph": name,
            }


def passages() -> Iterator[dict[str, str]]:
    """The paragraphs of XQuAD, as documents: name and text."""
    for paragraph, name in _paragraphs():
        yield {"name": name, "text": paragraph["context"]}


def _paragraphs() -> Iterator[tuple[dict[str, Any], str]]:
    path = _data_file("xquad-en", "xquad.en.json", source="github.com/google-deepmind/xquad")
    for number, article in enumerate(json.loads(path.read_text("utf-8"))["data"], start=1):
        for place, paragraph in enumerate(article["paragraphs"], start=1):
            yield paragraph, f"article-{number}-paragraph-{place}"


def calls() -> Iterator[dict[str, str]]:
    """Telephone calls, spoken by espeak-ng: sound files with queue, summary and what was said."""
    from luthier.task.reading.python_function import load_function

    spoken_calls = load_function(f"{Path(__file__).with_name('spoken_calls.py')}:spoken_calls")
    yield from spoken_calls()


SPEECHES_A_SCENE = 30
SHORTEST_SPEECH = 4  # lines
LONGEST_SPEECH = 12
EVERY = 2  # every second speech that fits: enough to learn from, and half the time


def speeches() -> Iterator[dict[str, str]]:
    """Speeches of four to twelve lines: who speaks and the first line, then the rest."""
    chosen = 0
    for number, speech in enumerate(_author().split("\n\n")):
        lines = [line.strip() for line in speech.strip().splitlines()]
        if not SHORTEST_SPEECH < len(lines) <= LONGEST_SPEECH + 1 or not lines[0].endswith(":"):
            continue
        chosen += 1
        if chosen % EVERY == 0:
            yield {
                "opening": f"{lines[0]} {lines[1]}",
                "rest": " / ".join(lines[2:]),  # one line, as verse is quoted in running text
                "scene": f"part-{number // SPEECHES_A_SCENE}",
            }


def _author() -> str:
    path = _data_file("tinyshakespeare", "input.txt", source="github.com/karpathy/char-rnn")
    return path.read_text("utf-8")


def reads_like_the_author(prediction: str, target: str) -> float:
    """The probability, 0 to 1, that the author wrote `prediction`. The target is not looked at."""
    return float(_classifier().predict_proba([_without_slashes(prediction)])[0, 1])


def _without_slashes(text: str) -> str:
    """The slash between lines of verse would give the author away."""
    return text.replace(" / ", " ")


@lru_cache(maxsize=1)
def _classifier():  # type: ignore[no-untyped-def]
    """Character n-grams and a logistic regression: the author against plain modern English."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    his = [_without_slashes(row["rest"]) for row in speeches()]
    modern = [row["message"] for row in bundled_rows("routing")]
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2)
    model = make_pipeline(features, LogisticRegression(C=10, class_weight="balanced"))
    return model.fit(his + modern, [1] * len(his) + [0] * len(modern))


reads_like_the_author.low = 0.0  # type: ignore[attr-defined]
reads_like_the_author.high = 1.0  # type: ignore[attr-defined]
