"""What can be evaluated: anything that answers examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from luthier.content import Response
from luthier.records import Example


class Answerer(Protocol):
    """A `Model`, or a plain reference beside it."""

    def answer(self, examples: Sequence[Example], *, seed: int = 0) -> list[Response]:
        """One response for each example, in order; targets are never looked at."""
        ...
