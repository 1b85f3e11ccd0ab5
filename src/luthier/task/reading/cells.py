"""Cells of any type as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from luthier.errors import TaskError
from luthier.safety.visible import storable
from luthier.task.reading.dialogues import dialogue_text


def cell_text(value: Any, *, where: str, plain: bool = False) -> str | None:
    """A cell as text; None where it is missing, empty or NaN. `where` is its place, for messages.

    A list of chat messages becomes one line `Role: content` for each message (`plain` as in
    `dialogues.turns_of`); other lists and objects become JSON. TaskError for what cannot be read
    as text.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _clean(dialogue_text(value, plain=plain) or value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        value = value.tolist()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    try:
        if isinstance(value, bytes):
            return _clean(value.decode("utf-8"))
        if isinstance(value, Mapping | list | tuple):
            text = dialogue_text(value, plain=plain) or json.dumps(
                value, ensure_ascii=False, default=str
            )
        elif type(value).__name__ in ("NAType", "NaTType"):  # pandas' own missing values
            return None
        else:
            text = str(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise TaskError(
            f"{where}: a {type(value).__name__} that cannot be read as text: {error}",
            next_step="Convert the column to text.",
        ) from error
    return _clean(text)


def _clean(text: str) -> str | None:
    # Half a surrogate pair (a broken emoji in JSON) becomes "?": no tokenizer accepts it.
    # A text that needs no change stays the one that was read: no copy of a whole file.
    return storable(text).replace("\r\n", "\n").replace("\r", "\n").strip() or None
