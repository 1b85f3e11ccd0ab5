"""Side by side: what a job hands in, how its two sides are timed, and the record that is kept.

A side's speed is units of work a second, so that a slow peer may be given a share of the inputs:
the ratio is always (peer seconds / peer units) / (our seconds / our units), round by round.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Verdict = Literal["met", "missed", "not measured"]


@dataclass(frozen=True)
class Side:
    """`seconds` of every round and the `units` of work each round did. `settings` name what was
    chosen for this side; `notes` hold what else it measured."""

    seconds: tuple[float, ...]
    units: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Equality:
    """What was held equal between the sides. `holds` decides whether a ratio may be believed."""

    what: str
    gap: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether the gap is within the stated tolerance; one that is no number is not."""
        return self.gap <= self.tolerance


@dataclass(frozen=True)
class Ratio:
    """How many times as fast as the peer: one row of the table."""

    job: str
    peer_name: str
    unit: str
    must_be: float | None
    ours: Side
    peer: Side
    equality: Equality
    setting: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """One for each round."""
        pairs = zip(self.ours.seconds, self.peer.seconds, strict=True)
        return [(p / self.peer.units) / (o / self.ours.units) for o, p in pairs]

    @property
    def value(self) -> float:
        """The median over rounds."""
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> Verdict:
        """Missed as well where the results differ, however fast we were."""
        if self.must_be is None:
            return "not measured"
        return "met" if self.value >= self.must_be and self.equality.holds else "missed"

    def record(self) -> dict[str, Any]:
        """As it stands in the results file."""
        return {
            "job": self.job,
            "kind": "ratio",
            "peer": self.peer_name,
            "unit": self.unit,
            "must_be": self.must_be,
            "ratio": self.value,
            "ratios": self.ratios,
            "rounds": len(self.ratios),
            "verdict": self.verdict if self.must_be is not None else None,
            "equal": {
                "what": self.equality.what,
                "gap": self.equality.gap,
                "tolerance": self.equality.tolerance,
                "holds": self.equality.holds,
            },
            "setting": dict(self.setting),
            "luthier": _side(self.ours),
            "peer_side": _side(self.peer),
        }


@dataclass(frozen=True)
class Share:
    """A measurement that is no ratio to a peer: a share of the machine, or a slope."""

    job: str
    kind: str
    value: float
    must_be: float | None
    at_most: bool = False
    setting: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict | None:
        """At least `must_be`, or at most where `at_most` says so; None where nothing is asked."""
        if self.must_be is None:
            return None
        good = self.value <= self.must_be if self.at_most else self.value >= self.must_be
        return "met" if good else "missed"

    def record(self) -> dict[str, Any]:
        """As it stands in the results file."""
        return {
            "job": self.job,
            "kind": self.kind,
            "must_be": self.must_be,
            "at_most": self.at_most,
            "value": self.value,
            "verdict": self.verdict,
            "setting": dict(self.setting),
        }


Measurement = Ratio | Share


def clock() -> tuple[Callable[[], float], str]:
    """What jobs are timed by, and its name. On one thread it is the processor's time of this
    process, which others on the same core do not lengthen; on several, the time that passes."""
    if torch.get_num_threads() == 1:
        return time.process_time, "processor seconds of one thread"
    return time.perf_counter, "seconds that passed"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what the work returned. Garbage of earlier work is collected off the clock."""
    gc.collect()
    now, _ = clock()
    start = now()
    found = work()
    return now() - start, found


def in_turn(
    ours: Callable[[int], Any], peer: Callable[[int], Any], *, rounds: int
) -> tuple[list[tuple[float, Any]], list[tuple[float, Any]]]:
    """Time both sides in turn, the first mover changing each round: a machine that slows down
    slows both. The round's number lets a side take fresh inputs."""
    mine: list[tuple[float, Any]] = []
    theirs: list[tuple[float, Any]] = []
    for k in range(rounds):
        if k % 2 == 0:
            mine.append(timed(lambda: ours(k)))  # noqa: B023 - called at once
            theirs.append(timed(lambda: peer(k)))  # noqa: B023
        else:
            theirs.append(timed(lambda: peer(k)))  # noqa: B023
            mine.append(timed(lambda: ours(k)))  # noqa: B023
    return mine, theirs


def seconds_of(rounds: Sequence[tuple[float, Any]]) -> tuple[float, ...]:
    """The clock's half of what `in_turn` returns."""
    return tuple(s for s, _ in rounds)


def _side(side: Side) -> dict[str, Any]:
    return {
        "seconds": list(side.seconds),
        "units": side.units,
        "seconds_a_unit": statistics.median(side.seconds) / side.units,
        "settings": dict(side.settings),
        **dict(side.notes),
    }
