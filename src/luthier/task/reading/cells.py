"""Cells of any type as text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.errors import TaskError


def cell_text(value: Any, *, where: str) -> str | None:
    """A cell as text; None where it is missing, empty or NaN. `where` is its place, for messages.

    A list of chat messages becomes one line `Role: content` for each message; other lists and
    objects become JSON. TaskError for what cannot be read as text.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _clean(value)
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
            text = _messages(value) or json.dumps(value, ensure_ascii=False, default=str)
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
    valid = text.encode("utf-8", "replace").decode("utf-8")
    return valid.replace("\r\n", "\n").strip() or None


def _messages(value: Any) -> str | None:
    """The lines of a dialogue [{"role": ..., "content": ...}, ...]; None for anything else."""
    if not isinstance(value, Sequence) or not value:
        return None
    lines = []
    for message in value:
        if not isinstance(message, Mapping):
            return None
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        lines.append(f"{role.capitalize()}: {content}")
    return "\n".join(lines)
