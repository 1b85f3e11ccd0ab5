"""Model = a frozen base plus an adaptation. Whatever answers is one of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from luthier.content import Response
from luthier.models.adaptation import Adaptation
from luthier.models.backend import Backend
from luthier.records import Capability, Example, Lineage


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A base (behind its backend), an adaptation, and how that adaptation was made.

    Immutable: `adapt` returns a new model over the same base.
    """

    backend: Backend
    adaptation: Adaptation = field(default_factory=Adaptation)
    lineage: Lineage | None = None

    def adapt(self, *, lineage: Lineage | None = None, **slots: Any) -> Model:
        """The same base with some slots of the adaptation replaced: `adapt(prompt=...)`."""
        return Model(self.backend, replace(self.adaptation, **slots), lineage or self.lineage)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the backend can do."""
        return self.backend.capabilities

    def answer(self, examples: Sequence[Example], *, seed: int = 0) -> list[Response]:
        """Answer many inputs; targets are never looked at."""
        from luthier.models.answering import answer

        return answer(self, examples, seed=seed)

    def ask(self, text: str, *, context: str | None = None) -> str:
        """Answer one input in plain text."""
        reply = self.answer([Example(id="ask", input=text, target="", context=context)])[0]
        return reply.parsed if reply.parsed is not None else reply.text

    def save(self, folder: str | Path) -> Path:
        """Write the adaptation (never the base) as a folder that `luthier.load` opens."""
        from luthier.models.storage import save

        return save(self, Path(folder))
