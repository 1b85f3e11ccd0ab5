"""Expectations that say in words what is wrong; they hold under `python -O` as well."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


def expect(condition: object, problem: str) -> None:
    """AssertionError with `problem` unless the condition holds."""
    if not condition:
        raise AssertionError(problem)


def expect_equal(found: Any, wanted: Any, problem: str) -> None:
    """AssertionError with both values unless they are equal."""
    if not found == wanted:
        raise AssertionError(f"{problem}\nfound:  {found!r}\nwanted: {wanted!r}")


def expect_close(
    found: Iterable[Any], wanted: Iterable[Any], problem: str, *, absolute: float = 1e-3
) -> None:
    """AssertionError unless two sequences of numbers agree within `absolute`, or 1e-4 of each."""
    found, wanted = [float(x) for x in found], [float(x) for x in wanted]
    close = len(found) == len(wanted) and all(
        math.isclose(a, b, rel_tol=1e-4, abs_tol=absolute)
        for a, b in zip(found, wanted, strict=True)
    )
    if not close:
        raise AssertionError(f"{problem}\nfound:  {found}\nwanted: {wanted}")


@contextmanager
def expect_error(kind: type[BaseException], problem: str, *, saying: str = "") -> Iterator[None]:
    """AssertionError unless the block raises `kind` with a message in which `saying` (a pattern)
    is found."""
    try:
        yield
    except kind as error:
        expect(re.search(saying, str(error)), f"{problem}: the message is {str(error)!r}")
        return
    raise AssertionError(f"{problem}: no {kind.__name__} was raised")
