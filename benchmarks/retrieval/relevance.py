"""How often is an answer given to a question that the documents do not answer, and withheld where
they do? The rates and weights of decision 60.

    python -m benchmarks.retrieval.relevance [--fit]

A reader that always says something out of the best passage stands for a model. The questions are
the bundled ones on Python and, where `$LUTHIER_DATA` has it, XQuAD: half of its articles are the
documents, questions on the other half are those that they do not answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.models.rag.citations import find_words
from luthier.models.rag.question_terms import QuestionTerms
from luthier.models.rag.relevance import features, relevance
from luthier.retrieval import IndexSettings, Passage, SearchSettings, build_index, open_index
from luthier.task.bundled import bundled_rows
from luthier.task.reading.documents import document_sources

SEARCH = SearchSettings(k=3, mode="lexical")
MOST = 200  # questions of each kind


@dataclass(frozen=True)
class Reading:
    """A question with the passage and the span that a reader answers it by; `right` or not."""

    question: str
    passage: Passage
    start: int
    end: int
    right: bool


def main() -> None:
    """Print the rates, and with `--fit` the weights that fit these questions best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true")
    fit = parser.parse_args().fit
    sets = dict(readings())
    for name, found in sets.items():
        given = np.array([_of(r) >= 0.5 for r in found])
        right = np.array([r.right for r in found])
        print(
            f"{name}: {right.sum()} answered by a passage, {1 - given[right].mean():.1%} of them "
            f"withheld; {(~right).sum()} not answered, {given[~right].mean():.1%} of them given"
        )
    if fit:
        model = _fitted([r for found in sets.values() for r in found])
        print("intercept", model.intercept_.round(2), "weights", model.coef_.round(2))
        for name, found in sets.items():
            others = [r for other, some in sets.items() if other != name for r in some]
            if others:
                given = _fitted(others).predict([_features(r) for r in found])
                right = np.array([r.right for r in found])
                print(
                    f"{name}, weights of the others: {1 - given[right].mean():.1%} withheld, "
                    f"{given[~right].mean():.1%} given"
                )


def _fitted(some: Sequence[Reading]) -> Any:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10, class_weight="balanced")
    return model.fit([_features(r) for r in some], [r.right for r in some])


def readings() -> Iterator[tuple[str, list[Reading]]]:
    """Each set of questions by its name, with what a reader says."""
    articles = _articles()
    with tempfile.TemporaryDirectory() as folder:
        inside, outside = [], []
        for number, article in enumerate(articles):
            for place, paragraph in enumerate(article["paragraphs"]):
                name = f"{number}-{place}.txt"
                asked = [(q["question"], q["answers"][0]["text"], name) for q in paragraph["qas"]]
                (outside if number % 2 else inside).extend(asked)
                if number % 2 == 0:
                    (Path(folder) / name).write_text(paragraph["context"], "utf-8")
        random.Random(0).shuffle(inside)
        random.Random(1).shuffle(outside)
        elsewhere = [question for question, _, _ in outside[:MOST]]
        if inside:
            yield "XQuAD", _read([folder], inside[:MOST], elsewhere)
    python = [(r["question"], r["answer"], r["source"]) for r in bundled_rows("pydoc")]
    yield "Python", _read(list(document_sources(("bundled:pydoc",))), python, elsewhere)


def _read(
    sources: Sequence[str], inside: Sequence[tuple[str, str, str]], outside: Sequence[str]
) -> list[Reading]:
    draw = random.Random(2)
    with tempfile.TemporaryDirectory() as folder:
        build_index(sources, folder, settings=IndexSettings(embedder="none"))
        index = open_index(folder)
        found: list[Reading] = []
        answered = index.search([q for q, _, _ in inside], SEARCH)
        for (question, answer, source), hits in zip(inside, answered, strict=True):
            for hit in hits:
                span = find_words(answer, hit.passage.text)
                if source in hit.passage.source and span is not None:
                    found.append(Reading(question, hit.passage, *span, True))
                    break
        for question, hits in zip(outside, index.search(outside, SEARCH), strict=True):
            if hits:
                terms = QuestionTerms.of(question)
                best = max(hits, key=lambda hit: terms.coverage(hit.passage.text)).passage
                words = list(re.finditer(r"\w+", best.text))
                first = draw.randrange(len(words))
                last = words[min(first + 1, len(words) - 1)]
                found.append(Reading(question, best, words[first].start(), last.end(), False))
    return found


def _articles() -> list[dict[str, list[dict[str, object]]]]:
    path = Path(os.environ.get("LUTHIER_DATA", "")) / "xquad-en" / "xquad.en.json"
    return json.loads(path.read_text("utf-8"))["data"] if path.is_file() else []


def _of(r: Reading) -> float:
    return relevance(r.question, r.passage, r.start, r.end)


def _features(r: Reading) -> NDArray[np.float64]:
    return np.array(features(QuestionTerms.of(r.question), r.passage, r.start, r.end))


if __name__ == "__main__":
    main()
