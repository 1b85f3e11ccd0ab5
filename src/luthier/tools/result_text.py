"""What a tool returned, as a text for a model: short, printable, without secrets."""

from __future__ import annotations

import json
from typing import Any

from luthier.tools.secret_texts import redacted


def result_text(value: Any, *, most: int) -> str:
    """A text of at most `most` characters. JSON unless it is a text; bytes are only counted."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(bytes(value)):,} bytes that are no text)"
    text = value if isinstance(value, str) else _json(value)
    return shortened_to(redacted(printable(text[: most * 4])), most, whole=len(text))


def shortened_to(text: str, most: int, *, whole: int | None = None) -> str:
    """The beginning of a text, and how much there was."""
    length = max(len(text), whole or 0)
    if length <= most:
        return text
    return f"{text[:most]}\n[cut: {length:,} characters in all]"


def printable(text: str) -> str:
    """The text without control characters (a terminal would obey some), nulls and half surrogate
    pairs."""
    kept = "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
    return kept.encode("utf-8", "replace").decode("utf-8")


def _json(value: Any) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
