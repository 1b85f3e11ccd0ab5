"""The record of a verdict: which technique to use, why, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from luthier.compare.plan import TOLERANCE


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which one to use. `pick` is None when nothing finished.

    `because` and `next_steps` are plain sentences. `best` has the highest mean score. After
    `break_even_requests` requests the pick has paid for its fit, compared with the best prompt
    (None: it never does, or it is a prompt); `break_even_requests_cached` is the same where prompt
    prefixes are cached. The pick is the cheapest technique within `tolerance` points of `best`;
    `tied_with` are those that the tests cannot tell from the best. With 95 % confidence the pick is
    at most `bound` below the truly best; `optimism` is by how much the best score is too good
    because it is the best of several. `reference` says how the pick stands to what needs no
    language model. `untried` are undertrained: they are neither picked nor beaten, and `enough` is
    the `--budget` that tries them (None where that is not known). `cost_unit` is that of the total
    costs: "money", "tokens" or "FLOPs". `not_tried` says in words what `untried` holds.
    """

    pick: str | None
    because: str
    tied_with: tuple[str, ...] = ()
    best: str | None = None
    break_even_requests: int | None = None
    break_even_requests_cached: int | None = None
    next_steps: tuple[str, ...] = ()
    reference: str = ""
    tolerance: float = TOLERANCE
    bound: float | None = None
    optimism: float | None = None
    untried: tuple[str, ...] = ()
    not_tried: str = ""
    enough: str | None = None
    cost_unit: str = "tokens"

    def to_json(self) -> dict[str, Any]:
        """The verdict as `luthier compare --json` prints it."""
        return {
            "pick": self.pick,
            "because": self.because,
            "tied_with": list(self.tied_with),
            "break_even_requests": self.break_even_requests,
            "break_even_requests_cached": self.break_even_requests_cached,
            "next_steps": list(self.next_steps),
            "best": self.best,
            "reference": self.reference,
            "tolerance": self.tolerance,
            "bound": self.bound,
            "optimism": self.optimism,
            "untried": list(self.untried),
            "not_tried": self.not_tried,
            "enough": self.enough,
            "cost_unit": self.cost_unit,
        }
