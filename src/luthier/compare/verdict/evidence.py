"""What a verdict is based on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.compare.comparison import CurvePoint, TaskFacts, TechniqueResult
from luthier.compare.costs import Price, PriceBook
from luthier.compare.plan import TOLERANCE
from luthier.records import PairedTest


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured. `tests` compare each technique with the best; `price` is that of the
    base. `tolerance` and `optimism` are as in `Verdict`."""

    task: TaskFacts
    results: tuple[TechniqueResult, ...]
    tests: tuple[PairedTest, ...]
    curve: tuple[CurvePoint, ...]
    prices: PriceBook
    price: Price
    tolerance: float = TOLERANCE
    optimism: float | None = None

    @property
    def scored(self) -> list[TechniqueResult]:
        """The results with a score, without the intermediate steps of recipes."""
        return [r for r in self.results if r.score.value is not None and r.part_of is None]

    @property
    def prompts(self) -> list[TechniqueResult]:
        """The scored results of techniques that only change the prompt."""
        return [result for result in self.scored if result.family == "prompt"]

    def test_of(self, technique: str) -> PairedTest | None:
        """The test of a technique against the best; None when there is none."""
        return next((t for t in self.tests if t.first == technique), None)


def best_of(results: Sequence[TechniqueResult]) -> TechniqueResult:
    """The result with the best mean score; the first of equals."""

    def rank(result: TechniqueResult) -> float:
        value = float("-inf") if result.score.value is None else result.score.value
        return value if result.score.higher_is_better else -value

    return max(results, key=rank)
