"""Commands that load much before they do anything."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Look for no garbage meanwhile, and never again among what is there at the end.

    Thousands of modules load at a start and none of them goes: looking through them again and again
    is a quarter of the processor time that it takes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
