"""The answers of every technique, example by example, as data for the page's own script.

Each text is stored once in a table and referred to by its number, so that ten techniques over the
same examples take little more space than one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from luthier.records import SampleScore
from luthier.report.technique_view import TechniqueView

MOST_EXAMPLES = 1000
MOST_CHARACTERS = 1200


def difference_data(views: Sequence[TechniqueView]) -> dict[str, Any] | None:
    """The data of the table; None unless at least two techniques have scored examples.

    `examples` are [id, input, target]. `answers` has a list for each technique with one entry for
    each example: [prediction, raw, value, parseable], where texts are places in `texts` and null
    means that there is none.
    """
    runs = [(view, view.run) for view in views]
    shown = [(view, run) for view, run in runs if run is not None and run.sample_scores]
    if len(shown) < 2:
        return None
    table = _Texts()
    by_id = [{sample.example_id: sample for sample in run.sample_scores} for _, run in shown]
    first: dict[str, SampleScore] = {}
    for samples in by_id:
        for key, sample in samples.items():
            first.setdefault(key, sample)
    chosen = _most_informative(first, by_id)
    answers = [[_answer(samples.get(key), table) for key in chosen] for samples in by_id]
    values = {sample.value for samples in by_id for sample in samples.values()}
    return {
        "techniques": [
            {
                "name": view.name,
                "seed": run.seed,
                "seeds": len(view.finished_runs),
                "mark": view.mark,
            }
            for view, run in shown
        ],
        "start": _start([view for view, _ in shown]),
        "binary": values <= {0.0, 1.0} and _higher_is_better([view for view, _ in shown]),
        "sign": 1 if _higher_is_better([view for view, _ in shown]) else -1,
        "total": len(first),
        "examples": [
            [key, _cut(first[key].input), table.number(first[key].target)] for key in chosen
        ],
        "answers": answers,
        "texts": table.texts,
    }


def _start(views: Sequence[TechniqueView]) -> tuple[int, int]:
    """The two to show first: the pick (else the best), and the best other prompt (else the best
    other)."""
    sign = 1.0 if _higher_is_better(views) else -1.0

    def value(index: int) -> float:
        return sign * (views[index].result.score.value or 0.0)

    everyone = range(len(views))
    first = next((i for i in everyone if views[i].mark == "pick"), max(everyone, key=value))
    others = [i for i in everyone if i != first]
    best_prompts = [
        i for i in others if views[i].result.family == "prompt" and views[i].result.part_of is None
    ]
    return first, max(best_prompts or others, key=value)


def _higher_is_better(views: Sequence[TechniqueView]) -> bool:
    return all(view.result.score.higher_is_better for view in views)


def _most_informative(
    first: dict[str, SampleScore], by_id: list[dict[str, SampleScore]]
) -> list[str]:
    """The ids to show: all of them or, where there are too many, first those on which techniques
    disagree."""
    if len(first) <= MOST_EXAMPLES:
        return list(first)

    def agree(key: str) -> bool:
        return len({samples[key].prediction for samples in by_id if key in samples}) < 2

    chosen = set(sorted(first, key=agree)[:MOST_EXAMPLES])
    return [key for key in first if key in chosen]


def _answer(sample: SampleScore | None, table: _Texts) -> list[Any] | None:
    if sample is None:
        return None
    prediction = None if sample.prediction is None else table.number(sample.prediction)
    # The raw output is worth showing only where the prediction does not stand in it as it is.
    contained = sample.prediction is not None and sample.prediction in sample.raw
    raw = None if contained else table.number(sample.raw)
    return [prediction, raw, round(sample.value, 4), 1 if sample.parseable else 0]


class _Texts:
    """A table of texts, each stored once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The place of a text in the table; a new one is added."""
        text = _cut(text)
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return text[:MOST_CHARACTERS].rstrip() + f" … ({len(text) - MOST_CHARACTERS:,} more characters)"


def script_json(data: Any) -> str:
    """JSON that is safe between script tags: nothing in it closes a tag or opens a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
