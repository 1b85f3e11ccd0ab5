"""What a comparison was asked to do, with everything named opened and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.compare.bases import OpenBases
from luthier.compare.costs import PriceBook
from luthier.compare.options import Options
from luthier.compare.running.run_keys import slug, technique_identity
from luthier.errors import TechniqueError
from luthier.ledger.provenance import luthier_version
from luthier.records import Budget, Kind
from luthier.serialization import digest

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.task.task import Task
    from luthier.techniques.base import Technique

# At least one technique of each family.
DEFAULT_TECHNIQUES = (
    "zero-shot", "few-shot", "prompt-search", "soft-prompt", "prefix", "lora", "full",
)  # fmt: skip
DECODERS_ONLY = frozenset({"prefix"})
# These are added where the task names documents.
WITH_KNOWLEDGE = ("rag", "rag -> few-shot", "lora -> rag")
# And these where it names tools.
WITH_TOOLS = ("tools", "few-shot -> tools", "lora -> tools")
# These alone for a task of pictures.
PICTURE_TECHNIQUES = ("zero-shot", "term-search", "negative-search", "guidance-search")
# And these where its training rows come with pictures.
WITH_PICTURES = ("textual-inversion", "picture-lora", "picture-full")


@dataclass(frozen=True)
class ComparisonRequest:
    """The task, the bases with their techniques, and the budget of a comparison.

    `budget` is for the whole comparison, `seeds` for each technique whose fit depends on
    a seed.
    """

    task: Task
    bases: OpenBases
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
            "model": [base.identity for base in self.bases],
            "techniques": [[technique_identity(t) for t in b.techniques] for b in self.bases],
            "budget": [self.budget.tokens, self.budget.minutes],
            "seeds": self.seeds,
            "seed": self.options.seed,
            "limit": self.options.limit,
        }
        return digest(asked)[:16]

    @property
    def folder_name(self) -> str:
        """`<task>-<models>-<hash>`, short enough for any file system."""
        names = (base.facts.name for base in self.bases)
        last = [re.sub(r"^https?://", "", name).rstrip("/").split("/")[-1] for name in names]
        return f"{slug(self.task.name)[:40]}-{slug('-'.join(last))[:40]}-{self.id[:8]}"

    @property
    def models(self) -> str:
        """The names of the bases, with commas between them."""
        return ",".join(base.facts.name for base in self.bases)


def default_techniques(task: Task, model: Model | None = None) -> tuple[str, ...]:
    """The techniques that are compared when none are named; over an encoder–decoder none that is
    for decoders only."""
    if task.kind is Kind.IMAGE:
        shown = any(example.picture for example in task.train)
        return (*PICTURE_TECHNIQUES, *(WITH_PICTURES if shown else ()))
    both_ways = model is not None and model.backend.facts.encoder_decoder
    names = [n for n in DEFAULT_TECHNIQUES if not (both_ways and n in DECODERS_ONLY)]
    names += WITH_KNOWLEDGE if task.knowledge else ()
    return (*names, *(WITH_TOOLS if task.tools else ()))


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
