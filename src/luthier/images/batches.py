"""Work in batches that get smaller where the memory does not hold them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from luthier.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "defaultcpuallocator")


def draw_in_batches(
    items: Sequence[Item], draw: Callable[[Sequence[Item]], list[Result]], *,
    key: Callable[[Item], Hashable], most: int, done: Callable[[int], None] | None = None,
) -> list[Result]:  # fmt: skip
    """A result for each item, in order; a batch holds at most `most` items of one key.

    A batch that does not fit in memory is halved; UserError where a single item does not fit.
    """
    groups: dict[Hashable, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(key(item), []).append(i)
    results: dict[int, Result] = {}
    for members in groups.values():
        start, size = 0, most
        while start < len(members):
            some = members[start : start + size]
            try:
                found = draw([items[i] for i in some])
            except (MemoryError, RuntimeError) as error:
                if not _lacks_memory(error):
                    raise
                if len(some) == 1:
                    raise UserError(
                        "The memory does not hold the drawing of a single picture",
                        next_step="Use a smaller model, or a machine with more memory.",
                    ) from error
                size = len(some) // 2
                continue
            results.update(zip(some, found, strict=True))
            start += len(some)
            if done is not None:
                done(len(some))
    return [results[i] for i in range(len(items))]


def _lacks_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in words for phrase in NO_MEMORY)
