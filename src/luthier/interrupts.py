"""A wish to stop that no library can swallow.

`KeyboardInterrupt` raised inside a compiled module that is just being imported comes out as an
ImportError, and one raised in a destructor is printed and forgotten. The handler therefore also
leaves a mark, and whoever catches errors in a loop asks for it.
"""

from __future__ import annotations

import signal

_asked = False


def listen() -> None:
    """Make Ctrl-C, and what ends a job on a cluster, raise KeyboardInterrupt and leave the mark.

    A signal that the parent chose to ignore stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def asked_for(error: BaseException | None = None) -> bool:
    """Whether a stop was asked for: by the mark, or by an interrupt among the error's causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return _asked


def _interrupt(*_: object) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
