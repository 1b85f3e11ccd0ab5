"""A request to stop that no library can swallow.

`KeyboardInterrupt` raised inside a compiled module that is just being imported comes out as an
ImportError, and one raised in a destructor is printed and forgotten. The signal handler therefore
also sets a flag, which code that catches errors in a loop reads.
"""

from __future__ import annotations

import signal

_requested = False


def install() -> None:
    """Make Ctrl-C, the signal that ends a job on a cluster, and the one that comes when a terminal
    closes raise KeyboardInterrupt and set the flag.

    A signal that the parent process chose to ignore stays ignored.
    """
    hangup = getattr(signal, "SIGHUP", signal.SIGTERM)  # Windows has none
    for number in (signal.SIGINT, signal.SIGTERM, hangup):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def requested(error: BaseException | None = None) -> bool:
    """Whether a stop was requested: by a signal, or by a KeyboardInterrupt among the causes of
    `error`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return _requested


def _interrupt(*_: object) -> None:
    global _requested
    _requested = True
    raise KeyboardInterrupt
