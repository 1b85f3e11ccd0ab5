"""Text that arrives in pieces, trimmed and stopped as the whole text would be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def stripped(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces whose join is that of `pieces` without white space at its ends."""
    pending, begun = "", False
    for piece in pieces:
        pending += piece
        if not begun:
            pending = pending.lstrip()
        ready = pending.rstrip()
        if ready:
            begun, pending = True, pending[len(ready) :]
            yield ready


def until_stop(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Pieces whose join is that of `pieces` up to the first of the stop strings.

    An end that may become a stop string waits for the next piece.
    """
    pending = ""
    for piece in pieces:
        pending += piece
        first = _first(pending, stops)
        ready = len(pending) - max((_overlap(pending, stop) for stop in stops), default=0)
        if first is not None and first <= ready:
            break
        if ready:
            yield pending[:ready]
            pending = pending[ready:]
    rest = pending[: _first(pending, stops)]
    if rest:
        yield rest


def _first(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop string of a text begins; None where there is none."""
    return min((place for place in map(text.find, stops) if place >= 0), default=None)


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
