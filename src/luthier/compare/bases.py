"""The bases of a comparison. Only one that was named is open at a time, so that the memory of a run
is that of its own base."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.compare.subject import BaseFacts
from luthier.errors import ModelError

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.techniques.base import Technique


@dataclass(frozen=True, slots=True)
class Base:
    """One base and the techniques that are tried on it.

    `name` is short, and differs from that of every other base. `identity` is a hash of the base and
    of what was adapted in it before. `spelling` is how it was named; None for a model that was
    handed over open, and stays so.
    """

    name: str
    identity: str
    facts: BaseFacts
    techniques: tuple[Technique, ...]
    spelling: str | Path | None = None

    @property
    def reopens(self) -> bool:
        """Whether it can be closed, which frees memory, and opened again by its name."""
        return self.spelling is not None and not self.facts.facts.remote


class OpenBases:
    """The bases, in order, of which one that takes memory is open at a time."""

    def __init__(self, bases: Sequence[Base], opened: dict[str, Model]) -> None:
        """`opened` holds models by the names of their bases; others are opened when used."""
        self.all = tuple(bases)
        self._opened = opened

    def __iter__(self) -> Iterator[Base]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    def of(self, name: str) -> Base:
        """The base of that name; of a single base the name does not matter."""
        if len(self.all) == 1:
            return self.all[0]
        return next(base for base in self.all if base.name == name)

    def model(self, name: str) -> Model:
        """The model of a base. The others are closed where they can be opened again.

        ModelError where the base is no longer what it was when the comparison began.
        """
        wanted = self.of(name)
        if wanted.name not in self._opened:
            from luthier.models.load import load

            self.close(but=wanted.name)
            assert wanted.spelling is not None
            model = load(wanted.spelling)
            if model.backend.fingerprint != wanted.facts.fingerprint:
                raise ModelError(
                    f"{wanted.spelling} has changed since the comparison began",
                    next_step="Run the same command again: it is compared anew.",
                )
            self._opened[wanted.name] = model
        return self._opened[wanted.name]

    def close(self, *, but: str = "") -> None:
        """Close what can be opened again, except the base `but`."""
        for base in self.all:
            if base.reopens and base.name != but:
                self._opened.pop(base.name, None)
        gc.collect()


def row_name(technique: str, base: str) -> str:
    """The name of a row in a table with several bases."""
    return f"{technique} on {base}"
