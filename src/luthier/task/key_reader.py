"""Typed reading of the keys of a task file; errors name the file, the key and the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from luthier.errors import TaskError, did_you_mean

MINIMAL_FILE = """\
instruction: Say which queue this message belongs to.
data: {data}
input: message
target: queue
kind: classify"""


class KeyReader:
    """Typed access to the keys, with errors that name the file, the key and the value."""

    def __init__(self, keys: Mapping[Any, Any], where: str) -> None:
        self.keys = keys
        self.where = where

    def get(self, key: str) -> Any:
        """The value as it was written; None where there is none."""
        return self.keys.get(key)

    def fail(
        self, key: str, problem: str, *, choices: Sequence[str] = (), next_step: str | None = None
    ) -> NoReturn:
        """Raise a TaskError about a key."""
        raise TaskError(f"{self.where}: `{key}` {problem}", choices=choices, next_step=next_step)

    def text(self, key: str) -> str:
        """A text, "" where there is none. Numbers count as text."""
        value = self.get(key)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self.fail(key, f"must be text, not {short(value)}", next_step="Put it in quotes.")
        # Half a surrogate pair cannot be written out again in any encoding.
        return str(value).encode("utf-8", "replace").decode("utf-8").strip()

    def required_text(self, key: str) -> str:
        """A text that the file must have."""
        value = self.text(key)
        if not value:
            raise TaskError(
                f"{self.where}: the key `{key}` is missing or empty",
                next_step="A task file needs at least:\n" + MINIMAL_FILE.format(data="rows.csv"),
            )
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """One of a list."""
        value = self.text(key) or default
        if value not in choices:
            self.fail(
                key,
                f"is {short(value)}",
                choices=choices,
                next_step=did_you_mean(value, choices) or "Use one of the choices.",
            )
        return value

    def count(self, key: str) -> int | None:
        """A whole number above 0, None where there is none."""
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.fail(
                key,
                f"must be a whole number above 0, not {short(value)}",
                next_step=f"Write for instance `{key}: 100`.",
            )
        return int(value)

    def flag(self, key: str) -> bool:
        """True or false, false where there is none."""
        value = self.get(key)
        if value is None:
            return False
        if not isinstance(value, bool):
            self.fail(
                key,
                f"is {short(value)}",
                choices=("true", "false"),
                next_step=f"Write `{key}: true` or leave it out.",
            )
        return value

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """A mapping of text to text as pairs; a missing value is the empty text."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, Mapping):
            self.fail(
                key,
                f"must be a mapping, not {short(value)}",
                next_step=f"Write it as\n{key}:\n  first: its text\n  second: its text",
            )
        pairs = []
        for name, text in value.items():
            plain = KeyReader({key: name}, self.where).text(key)
            if not plain:
                self.fail(key, "has an empty name", next_step="Give it a name or remove it.")
            pairs.append((plain, KeyReader({key: text}, self.where).text(key)))
        return tuple(pairs)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; one text counts as a list of one."""
        value = self.get(key)
        if value is None:
            return ()
        items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        texts = tuple(KeyReader({key: item}, self.where).text(key) for item in items)
        if not all(texts):
            self.fail(key, "has an empty entry", next_step="Remove it.")
        return texts


def short(value: Any) -> str:
    """A value as it is shown in a message: its repr, at most 60 characters."""
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
