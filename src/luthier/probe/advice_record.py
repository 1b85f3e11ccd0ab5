"""How often was the advice right so far?

A comparison that began with an advice says at its end whether the first choice was among the best:
the best technique, the pick, and those that the tests cannot tell from the best. The ledger keeps
that, and the record is read out of all ledgers below a folder. Beside it stand three who need no
measurement: always LoRA, always few-shot, and a technique drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import StorageError, UserError
from luthier.ledger.row_reading import read_row
from luthier.ledger.run_ledger import LEDGER_FILE, Ledger

ALWAYS = ("lora", "few-shot")


@dataclass(frozen=True, slots=True)
class TriedTechnique:
    """A technique that a comparison tried: its row, its name without settings or base, and whether
    it is among the best."""

    technique: str
    plain: str
    among_best: bool


@dataclass(frozen=True, slots=True)
class AdviceOutcome:
    """What became of an advice. `hit`: the first choice is among the best; None where that cannot
    be said, and `reason` says why. `rule` is the version of the rule that made the advice."""

    task: str
    base: str
    first: str
    hit: bool | None
    tried: tuple[TriedTechnique, ...] = ()
    pick: str | None = None
    rule: str = ""
    reason: str = ""

    def sentence(self) -> str:
        """The outcome in words."""
        said = f"The advice, given before anything was fitted, named {self.first} first"
        if self.hit is None:
            return f"{said}; whether that was right cannot be said: {self.reason}."
        count = sum(one.among_best for one in self.tried)
        among = f"the {count} of {len(self.tried)} that are best or tied with the best"
        if count == 1:
            among = f"the best of {len(self.tried)}"
        return f"{said}: it {'is' if self.hit else 'is not'} {'among ' * (count > 1)}{among}."


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often a choice was among the best, of so many comparisons, with its interval."""

    name: str
    hits: float
    comparisons: int

    @property
    def rate(self) -> float | None:
        """The share; None without comparisons."""
        return self.hits / self.comparisons if self.comparisons else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval; None without comparisons."""
        from luthier.scoring.statistics.intervals import wilson

        return wilson(self.hits, self.comparisons) if self.comparisons else None

    def words(self) -> str:
        """ "the advice: 9 of 12, 75 % (47–91)"."""
        if self.rate is None or self.interval is None:
            return f"{self.name}: nothing yet"
        low, high = self.interval
        hits = f"{self.hits:g}" if self.hits == int(self.hits) else f"{self.hits:.1f}"
        return (
            f"{self.name}: {hits} of {self.comparisons}, {100 * self.rate:.0f} % "
            f"({100 * low:.0f}–{100 * high:.0f})"
        )


@dataclass(frozen=True, slots=True)
class AdviceRecord:
    """The outcomes, oldest first, and the hit rates over those that could be judged."""

    outcomes: tuple[AdviceOutcome, ...]
    unread: tuple[str, ...] = ()

    @property
    def judged(self) -> tuple[AdviceOutcome, ...]:
        """The outcomes with a hit or a miss."""
        return tuple(outcome for outcome in self.outcomes if outcome.hit is not None)

    @property
    def rates(self) -> tuple[HitRate, ...]:
        """Of the advice, of each who always says the same (where that was tried), and of chance."""
        judged = self.judged
        rates = [HitRate("the advice", sum(bool(o.hit) for o in judged), len(judged))]
        for name in ALWAYS:
            met = [o for o in judged if any(t.plain == name for t in o.tried)]
            hits = sum(any(t.plain == name and t.among_best for t in o.tried) for o in met)
            rates.append(HitRate(f"always {name}", hits, len(met)))
        lucky = [sum(t.among_best for t in o.tried) / len(o.tried) for o in judged if o.tried]
        rates.append(HitRate("drawn at random", round(sum(lucky), 2), len(lucky)))
        return tuple(rates)

    def sentences(self) -> list[str]:
        """The hit rates, and what was left out of them."""
        if not self.outcomes:
            return [
                "No comparison has been run with an advice yet: luthier compare TASK --advise.",
                *self.unread,
            ]
        lines = [
            f"First choice among the best of the comparison, {len(self.judged)} comparisons:",
            *(rate.words() for rate in self.rates),
        ]
        lines += [
            f"Not counted: {o.task} on {o.base}: {o.reason}."
            for o in self.outcomes
            if o.hit is None
        ]
        return [*lines, *self.unread]

    def to_json(self) -> dict[str, Any]:
        """The record as `luthier probe --record --json` prints it."""
        return {
            "rates": [
                {
                    "name": rate.name,
                    "hits": rate.hits,
                    "comparisons": rate.comparisons,
                    "rate": rate.rate,
                    "interval": rate.interval,
                }
                for rate in self.rates
            ],
            "outcomes": [
                {
                    "task": o.task,
                    "base": o.base,
                    "first": o.first,
                    "hit": o.hit,
                    "pick": o.pick,
                    "among_best": [t.technique for t in o.tried if t.among_best],
                    "rule": o.rule,
                    "reason": o.reason,
                }
                for o in self.outcomes
            ],
        }


def advice_record(
    folder: str | Path = "runs", *, wanted: Callable[[AdviceOutcome], bool] | None = None
) -> AdviceRecord:
    """The record of all ledgers in a folder and below it.

    UserError where there is no such folder. A ledger that cannot be read is named in `unread`.
    """
    place = Path(folder)
    if not place.is_dir():
        raise UserError(
            f"{place} is no folder of runs",
            next_step="Give the folder that holds the run folders of luthier compare.",
        )
    found: list[tuple[str, AdviceOutcome]] = []
    unread = []
    for path in sorted(place.rglob(LEDGER_FILE)):
        try:
            found += _outcomes(path)
        except StorageError as error:
            unread.append(f"Not read: {error.problem}.")
    ordered = [outcome for _, outcome in sorted(found, key=lambda pair: pair[0])]
    kept: Sequence[AdviceOutcome] = [o for o in ordered if wanted is None or wanted(o)]
    return AdviceRecord(tuple(kept), tuple(unread))


def _outcomes(path: Path) -> list[tuple[str, AdviceOutcome]]:
    with Ledger.to_read(path) as ledger:
        return [
            (
                stored.created,
                read_row(AdviceOutcome, stored.outcome, row=f"advice {stored.comparison}"),
            )
            for stored in ledger.advice_outcomes()
        ]
