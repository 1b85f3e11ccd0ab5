"""A scorer: any function of a prediction and a target that returns a number is one."""

from __future__ import annotations

import re


def first_word(prediction: str, target: str) -> float:
    """1 where prediction and target begin with the same word, else 0.

    For answers whose first word decides: "Yes, within 30 days." is right where the target is "yes".
    Letter case and punctuation do not count. An answer that could not be read arrives as "".
    """
    return float(_first(prediction) == _first(target))


# Bounds that Luthier clips its intervals to, and the direction.
first_word.low, first_word.high, first_word.higher_is_better = 0.0, 1.0, True  # type: ignore[attr-defined]


def _first(text: str) -> str:
    found = re.search(r"\w+", text.lower())
    return found.group() if found else ""
