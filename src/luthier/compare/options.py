"""The less common settings of a comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from luthier.compare.listener import Listener, SilentListener
from luthier.compare.plan import TOLERANCE
from luthier.errors import TaskError

CURVE = (0.25, 0.5)


@dataclass(frozen=True, slots=True)
class Options:
    """What `compare` takes beyond task, model, techniques, budget and seeds.

    **Fields**

    - `curve`: also fit on these shares of the training examples.
    - `limit`: score only so many test examples.
    - `prices`: a price book (YAML) in place of the one that ships.
    - `seed`: the first seed; the others follow it.
    - `hard_cap_minutes`: a run that has not ended by then is "stopped" (default: 1.5 times the
      budget, where that is in minutes).
    - `plan_only`: make the plan and run nothing.
    - `tolerance`: how far the pick may be below the best, in points: hundredths of a score that
      lies between 0 and 1, per cent of the best score elsewhere.
    - `listener`: follows the progress.
    - `references`: also score what needs no language model (always the commonest answer, plain
      classifiers; over documents the best sentence).
    - `setfit`: also score SetFit, which trains the embedder on pairs; it takes some minutes.
    - `refit`: fit the pick once more at the end, on train and dev together.
    - `advise`: rank the techniques by a rule before anything is fitted (`luthier.probe`), run the
      likely winners first, and say at the end whether the first choice was right.
    - `embedder`: of the reference that classifies embeddings, as in `luthier index`; by default
      MiniLM where the `rag` extra is installed, "none" for no such reference.
    - `arguments`: those of `luthier compare`, where that is what asks; the ledger keeps them, so
      that the studio can go on with a comparison that stopped.
    """

    curve: tuple[float, ...] = ()
    limit: int | None = None
    prices: str | Path | None = None
    seed: int = 0
    hard_cap_minutes: float | None = None
    plan_only: bool = False
    tolerance: float = TOLERANCE
    listener: Listener = field(default_factory=SilentListener)
    references: bool = True
    embedder: str | None = None
    setfit: bool = False
    refit: bool = False
    advise: bool = False
    arguments: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise TaskError(
                f"limit={self.limit} leaves no test example", next_step="Give 1 or more."
            )
        if not 0.0 <= self.tolerance < 100.0:
            raise TaskError(
                f"tolerance={self.tolerance:g} is no number of points from 0 to 100",
                next_step="Give how far the pick may be below the best, for instance 3.",
            )
        for share in self.curve:
            if not 0.0 < share < 1.0:
                raise TaskError(
                    f"A learning curve cannot have a point at {share}",
                    next_step="Give shares between 0 and 1; the fits on all examples are there "
                    "anyway.",
                )
