"""What a comparison was asked to do, with everything named opened and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.compare.costs import PriceBook
from luthier.compare.options import Options
from luthier.compare.running.run_keys import model_identity, slug, technique_identity
from luthier.errors import TechniqueError
from luthier.ledger.provenance import luthier_version
from luthier.records import Budget
from luthier.serialization import digest

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.task.task import Task
    from luthier.techniques.base import Technique

# One technique of each family. Where there are several, the first that suits the base.
DEFAULT_TECHNIQUES = (
    ("zero-shot",), ("few-shot",), ("prompt-search",), ("prefix", "soft-prompt"), ("lora",),
    ("full",),
)  # fmt: skip
# These are added where the task names documents.
WITH_KNOWLEDGE = ("rag", "rag -> few-shot", "lora -> rag")


@dataclass(frozen=True)
class ComparisonRequest:
    """The task, the base, the techniques and the budget of a comparison.

    `budget` is for the whole comparison, `seeds` for each technique whose fit depends on
    a seed.
    """

    task: Task
    model: Model
    techniques: tuple[Technique, ...]
    budget: Budget
    seeds: int
    options: Options
    prices: PriceBook

    @property
    def id(self) -> str:
        """Equal for equal requests. Prices, the learning curve, the time limit and the
        tolerance do not count."""
        asked = {
            "luthier": luthier_version(),
            "task": self.task.fingerprint,
            "model": model_identity(self.model),
            "techniques": [technique_identity(t) for t in self.techniques],
            "budget": [self.budget.tokens, self.budget.minutes],
            "seeds": self.seeds,
            "seed": self.options.seed,
            "limit": self.options.limit,
        }
        return digest(asked)[:16]

    @property
    def folder_name(self) -> str:
        """`<task>-<model>-<hash>`, short enough for any file system."""
        model = re.sub(r"^https?://", "", self.model.backend.name).rstrip("/").split("/")[-1]
        return f"{slug(self.task.name)[:40]}-{slug(model)[:40]}-{self.id[:8]}"


def default_techniques(task: Task, model: Model | None = None) -> tuple[str, ...]:
    """The techniques that are compared when none are named.

    For a base that cannot carry a prefix, the soft prompt takes its place.
    """
    names = tuple(_first_suited(choice, model) for choice in DEFAULT_TECHNIQUES)
    return (*names, *(WITH_KNOWLEDGE if task.knowledge else ()))


def resolve_techniques(techniques: str | Sequence[str | Technique]) -> tuple[Technique, ...]:
    """The techniques that names or objects stand for, each once.

    TechniqueError, with the closest name, for an unknown one.
    """
    from luthier import registry
    from luthier.techniques.spelling import parse_technique, parse_techniques

    if isinstance(techniques, str):
        parsed = parse_techniques(techniques)
    else:
        parsed = tuple(parse_technique(t) if isinstance(t, str) else t for t in techniques)
    if not parsed:
        raise TechniqueError(
            "No technique was given",
            choices=registry.names("techniques"),
            next_step="Name at least one.",
        )
    # The same technique twice is the same run, and has one place in the table.
    return tuple({digest(technique_identity(t)): t for t in parsed}.values())


def _first_suited(names: Sequence[str], model: Model | None) -> str:
    """The first technique that this kind of base can carry; the first of all where none can."""
    from luthier.techniques.spelling import parse_technique

    if model is None or len(names) == 1:
        return names[0]
    suited = (name for name in names if parse_technique(name).unmet_by_model(model) is None)
    return next(suited, names[0])
