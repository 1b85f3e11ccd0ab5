"""JSON in an answer: one function says what counts, for whoever parses an answer and whoever scores
it."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_FENCE = re.compile(r"```[\w-]*\s*\n(.*?)```", re.DOTALL)


def read_json(text: str) -> Any:
    """The JSON value that a text, or its first fenced block, holds. ValueError where there is none.

    NaN and Infinity, which Python would accept, are not JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as fault:
        raise ValueError("nested too deeply") from fault
    except ValueError:
        fenced = _FENCE.search(text)
        if fenced is None:
            raise
        return read_json(fenced.group(1))


def is_json(text: str) -> bool:
    """Whether `read_json` can read the text; whether it fits a schema is the scorer's business."""
    try:
        read_json(text)
    except ValueError:
        return False
    return True


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
