"""Text that somebody else wrote, as a terminal may show it."""

from __future__ import annotations

import re
from typing import Any

# What a terminal obeys: the C0 and C1 controls (ESC and CSI among them) but tab and line end; marks
# that reorder a line; halves of surrogate pairs, which no terminal's encoding has.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with "?" for halves of surrogate pairs, which no file and no server takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def storable_json(value: Any) -> Any:
    """A JSON value with `storable` texts in it."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [storable_json(each) for each in value]
    if isinstance(value, dict):
        return {storable(key): storable_json(each) for key, each in value.items()}
    return value


def visible(text: str) -> str:
    """The text with "\N{REPLACEMENT CHARACTER}" for what a terminal would obey; tabs and line ends
    stay."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
