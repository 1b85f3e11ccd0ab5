"""What a reference is: something plain that answers the same examples, and is no technique."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.content import Response, Usage
from luthier.records import Example, FitRecord
from luthier.training.word_features import whole_text as whole_text

if TYPE_CHECKING:
    from luthier.task.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class FittedReference:
    """A reference after its fit; it answers as a model does."""

    predict: Callable[[Sequence[Example]], list[str]]
    record: FitRecord

    def answer(self, examples: Sequence[Example], *, seed: int = 0) -> list[Response]:
        """One response for each example. No token of a language model is used."""
        return [
            Response(text=said, parsed=said or None, parseable=bool(said), usage=Usage())
            for said in (self.predict(examples) if examples else [])
        ]


class PlainReference:
    """Something plain to hold the techniques against.

    `name` is what the table calls it. `remote`: it asks a server, whose price is not known.
    """

    name: str
    remote: bool = False

    def settings(self) -> Mapping[str, Any]:
        """What tells it apart from another of its kind."""
        return {}

    def fit(self, task: Task) -> FittedReference:
        """Fit on train, choose on dev; the task has no test split."""
        raise NotImplementedError
