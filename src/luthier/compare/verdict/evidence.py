"""What a verdict is based on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from luthier.compare.comparison import CurvePoint, TechniqueResult
from luthier.compare.costs import Outlay, OutlayUnit, Price, PriceBook, outlay, outlay_unit
from luthier.compare.plan import TOLERANCE
from luthier.compare.subject import TaskFacts
from luthier.records import PairedTest


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was measured. `tests` compare each technique with the best; `price` is that of the
    base, and `base_prices` has those of several by name. `tolerance`, `optimism` and `enough` are
    as in `Verdict`."""

    task: TaskFacts
    results: tuple[TechniqueResult, ...]
    tests: tuple[PairedTest, ...]
    curve: tuple[CurvePoint, ...]
    prices: PriceBook
    price: Price
    tolerance: float = TOLERANCE
    optimism: float | None = None
    enough: str | None = None
    base_prices: Mapping[str, Price] = field(default_factory=dict)

    @property
    def unit(self) -> OutlayUnit:
        """In what the costs of techniques are compared: money, too, where a teacher is billed."""
        if any(result.cost.helper_money for result in self.results):
            return "money"
        return outlay_unit(tuple(self.base_prices.values()) or (self.price,))

    def outlay(self, result: TechniqueResult, *, cached: bool = False) -> Outlay | None:
        """What a technique costs once and for each request; None where it was not measured."""
        price = self.base_prices.get(result.base, self.price)
        return outlay(result.cost, price, cached=cached, unit=self.unit)

    def total_cost(self, result: TechniqueResult) -> float | None:
        """What one fit and the price book's number of requests cost."""
        each = self.outlay(result)
        return None if each is None else each.for_requests(self.prices.requests)

    @property
    def scored(self) -> list[TechniqueResult]:
        """The results with a score, without the intermediate steps of recipes."""
        return [r for r in self.results if r.score.value is not None and r.part_of is None]

    @property
    def prompts(self) -> list[TechniqueResult]:
        """The scored results of techniques that only change the prompt."""
        return [result for result in self.scored if result.family == "prompt"]

    @property
    def untried(self) -> list[TechniqueResult]:
        """The scored results whose fits had too few passes to say anything about the technique."""
        return [result for result in self.scored if result.undertrained]

    def test_of(self, technique: str) -> PairedTest | None:
        """The test of a technique against the best; None when there is none."""
        return next((t for t in self.tests if t.first == technique), None)


def tried(results: Sequence[TechniqueResult]) -> list[TechniqueResult]:
    """What a verdict is about: results with a score that are no step of a recipe and whose fits
    were no undertrained ones; of these, where there are any, those that finished with all seeds.
    Nothing where everything is undertrained."""
    scored = [r for r in results if r.score.value is not None and r.part_of is None]
    enough = [result for result in scored if not result.undertrained]
    return [result for result in enough if result.status == "finished"] or enough


def best_of(results: Sequence[TechniqueResult]) -> TechniqueResult:
    """The result with the best mean score; the first of equals."""

    def rank(result: TechniqueResult) -> float:
        value = float("-inf") if result.score.value is None else result.score.value
        return value if result.score.higher_is_better else -value

    return max(results, key=rank)
