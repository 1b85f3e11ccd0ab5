"""What a probe is asked to look at, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from luthier.errors import UserError, did_you_mean
from luthier.task.task import Task

PARTS = ("familiarity", "traces", "contamination", "hallucination", "skills", "advice")


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """How much is read of everything: samples that are drawn with the seed and told.

    **Arguments**

    - `documents`: documents whose familiarity is measured.
    - `tokens`: of all of them together, in whole windows.
    - `examples`: of a task.
    - `samples`: answers drawn for one question.
    - `seconds`: about what one part may take, where the base's speed is known; less is read then.
    """

    documents: int = 60
    tokens: int = 20_000
    examples: int = 100
    samples: int = 5
    seconds: float = 45.0

    def __post_init__(self) -> None:
        for name in ("documents", "tokens", "examples", "samples", "seconds"):
            if not getattr(self, name) >= 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """What to probe with. Paths name files, folders or globs.

    **Arguments**

    - `on`: the documents (or files of answers) to ask about.
    - `task`: the task that the base is wanted for; with its test split.
    - `corpus`: text that may be traced to, such as what the base was trained on.
    - `against`: matched text that the base cannot know; without it `on` is shuffled.
    - `parts`: names out of `PARTS`; empty: all that can be measured.
    """

    on: tuple[str, ...] = ()
    task: Task | None = None
    corpus: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    limits: ProbeLimits = field(default_factory=ProbeLimits)
    seed: int = 0

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                raise UserError(
                    f"a probe has no part {part!r}",
                    choices=PARTS,
                    next_step=did_you_mean(part, PARTS),
                )

    def wants(self, part: str) -> bool:
        """Whether a part is asked for."""
        return not self.parts or part in self.parts
