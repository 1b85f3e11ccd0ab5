"""Example-by-example answers of every technique, as data for the page's own script.

Texts are kept once in a table and pointed at by number, so that ten techniques over the same
examples cost little more than one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from luthier.records import SampleScore
from luthier.report.technique_view import TechniqueView

MOST_EXAMPLES = 1000
MOST_CHARACTERS = 1200


def difference_data(lines: Sequence[TechniqueView]) -> dict[str, Any] | None:
    """What the drop-downs show; None unless at least two techniques have judged examples.

    `examples` are [id, input, target]; `answers` hold a list for each technique, in the order of
    the examples: [prediction, raw, values, parseable], texts as places in `texts`, null where unread.
    """
    runs = [(line, line.run) for line in lines]
    asked = [(line, run) for line, run in runs if run is not None and run.sample_scores]
    if len(asked) < 2:
        return None
    table = _Texts()
    by_id = [{j.example_id: j for j in run.sample_scores} for _, run in asked]
    first: dict[str, SampleScore] = {}
    for sample_scores in by_id:
        for key, value in sample_scores.items():
            first.setdefault(key, value)
    chosen = _most_telling(first, by_id)
    answers = [
        [_answer(sample_scores.get(key), table) for key in chosen] for sample_scores in by_id
    ]
    values = {j.value for sample_scores in by_id for j in sample_scores.values()}
    return {
        "techniques": [
            {
                "name": line.name,
                "seed": run.seed,
                "seeds": len(line.finished_seeds),
                "mark": line.mark,
            }
            for line, run in asked
        ],
        "start": _start([line for line, _ in asked]),
        "binary": values <= {0.0, 1.0} and _higher_is_better([line for line, _ in asked]),
        "sign": 1 if _higher_is_better([line for line, _ in asked]) else -1,
        "total": len(first),
        "examples": [
            [key, _cut(first[key].input), table.number(first[key].target)] for key in chosen
        ],
        "answers": answers,
        "texts": table.texts,
    }


def _start(lines: Sequence[TechniqueView]) -> tuple[int, int]:
    """Which two to show first: the pick, and the best prompt beside it (else the first other)."""
    sign = 1.0 if _higher_is_better(lines) else -1.0

    def value(index: int) -> float:
        return sign * (lines[index].row.score.value or 0.0)

    everyone = range(len(lines))
    first = next((i for i in everyone if lines[i].mark == "pick"), max(everyone, key=value))
    others = [i for i in everyone if i != first]
    best_prompts = [
        i for i in others if lines[i].row.family == "prompt" and lines[i].row.part_of is None
    ]
    return first, max(best_prompts or others, key=value)


def _higher_is_better(lines: Sequence[TechniqueView]) -> bool:
    return all(line.row.score.higher_is_better for line in lines)


def _most_telling(first: dict[str, SampleScore], by_id: list[dict[str, SampleScore]]) -> list[str]:
    """The ids to show: all of them, or those on which techniques disagree first where too many."""
    if len(first) <= MOST_EXAMPLES:
        return list(first)

    def agree(key: str) -> bool:
        return len({j[key].prediction for j in by_id if key in j}) < 2

    kept = set(sorted(first, key=agree)[:MOST_EXAMPLES])
    return [key for key in first if key in kept]


def _answer(sample_scores: SampleScore | None, table: _Texts) -> list[Any] | None:
    if sample_scores is None:
        return None
    said = None if sample_scores.prediction is None else table.number(sample_scores.prediction)
    # What was generated is worth showing only where it is not seen in what was read out of it.
    seen = sample_scores.prediction is not None and sample_scores.prediction in sample_scores.raw
    raw = None if seen else table.number(sample_scores.raw)
    return [said, raw, round(sample_scores.value, 4), 1 if sample_scores.parseable else 0]


class _Texts:
    """Texts, each kept once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The place of a text in the table, put there if it is new."""
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
    """JSON that is safe between script tags: nothing in it closes them or opens a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
