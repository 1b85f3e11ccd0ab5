"""Splits that depend on the content of the examples, never on the order of the rows.

A unit is a group, or, without groups, all examples with the same input; a unit is never divided.
Within each label the units are ranked by SHA-256 of the seed and their key, and the ranks are cut:
first test, then dev, then train. A row that is added later therefore moves only rows near a cut.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from luthier.errors import TaskError
from luthier.records import Example
from luthier.task.leaks import exact_key

# The order in which the ranks are assigned.
ORDER = ("test", "dev", "train")
Unit = tuple[Example, ...]


def split(
    examples: Sequence[Example], fractions: Mapping[str, float], *, seed: int, stratify: bool
) -> dict[str, tuple[Example, ...]]:
    """Cut examples into the parts of `fractions` (which add up to 1), each at least one unit.

    With `stratify` each label is cut on its own, so that all parts hold all labels where there are
    three units or more of each. Raises TaskError when there are fewer units than parts.
    """
    parts = [name for name in ORDER if name in fractions]
    whole = len(examples)
    units = _units(examples)
    if len(units) < len(parts):
        raise TaskError(
            f"there are only {len(units)} groups to divide over {len(parts)} splits",
            next_step="A group never straddles a split. Choose a `group` column with more values, "
            "or leave it out.",
        )
    large = _large(units, fractions, whole=whole)
    first = [e for key in large for e in units[key]]
    if large:
        fractions = _shares_of_the_rest(fractions, whole=whole, rest=whole - len(first))
    strata: dict[str, list[tuple[str, Unit]]] = {}
    for key, unit in units.items():
        if key in large:
            continue
        label = _commonest(unit) if stratify else ""
        strata.setdefault(label, []).append((rank(key, seed), unit))
    assigned: dict[str, list[tuple[str, Unit]]] = {part: [] for part in parts}
    owed = dict.fromkeys(parts, 0.0)
    for label in sorted(strata):
        ranked = sorted(strata[label])
        for part, some in zip(parts, _cut(ranked, parts, fractions, owed), strict=True):
            assigned[part].extend(some)
    _fill_empty(assigned, spare={"train"} if large else set())
    found = {part: [e for _, unit in assigned[part] for e in unit] for part in parts}
    found["train"] += first
    return {part: in_order(found[part], seed) for part in parts}


def missed_shares(
    splits: Mapping[str, Sequence[Example]], fractions: Mapping[str, float]
) -> list[str]:
    """In words, each split whose share of the examples is far from what was asked for: by five
    points, and by a quarter of the smaller."""
    whole = sum(map(len, splits.values()))
    missed = []
    for part, some in splits.items():
        share, wanted = len(some) / whole, fractions[part]
        if abs(share - wanted) > max(0.05, 0.25 * min(share, wanted)):
            missed.append(
                f"The {part} split holds {share:.0%} of the examples instead of {wanted:.0%}: a "
                "group is never divided."
            )
    return missed


def in_order(examples: Sequence[Example], seed: int) -> tuple[Example, ...]:
    """Examples in an order that does not depend on the order of the rows, and mixes the labels."""
    return tuple(sorted(examples, key=lambda e: (rank(e.id, seed), e.id, e.text, e.target)))


def rank(key: str, seed: int) -> str:
    """The rank of a key: a hexadecimal number that depends on the seed and the key alone."""
    return hashlib.sha256(f"{seed}\n{key}".encode()).hexdigest()


def _units(examples: Sequence[Example]) -> dict[str, Unit]:
    found: dict[str, list[Example]] = {}
    for e in examples:
        key = f"group\n{e.group}" if e.group is not None else "text\n" + "\n".join(exact_key(e))
        found.setdefault(key, []).append(e)
    return {key: tuple(unit) for key, unit in found.items()}


def _large(
    units: Mapping[str, Unit], fractions: Mapping[str, float], *, whole: int
) -> dict[str, None]:
    """The units that alone hold more than test or dev should: they go to train, the largest first,
    as long as each other split can have a unit."""
    others = [share for part, share in fractions.items() if part != "train"]
    most = whole * min(others, default=1.0)
    large = sorted((key for key in units if len(units[key]) > most), key=lambda k: -len(units[k]))
    return dict.fromkeys(large[: len(units) - len(others)])


def _shares_of_the_rest(
    fractions: Mapping[str, float], *, whole: int, rest: int
) -> dict[str, float]:
    """The shares of what is left once train has its large units."""
    shares = {part: f * whole / rest for part, f in fractions.items() if part != "train"}
    total = sum(shares.values())
    shares = {part: share / max(1.0, total) for part, share in shares.items()}
    return {**shares, "train": max(0.0, round(1.0 - sum(shares.values()), 9))}


def _commonest(unit: Unit) -> str:
    counts = Counter(e.target for e in unit)
    return min(counts, key=lambda label: (-counts[label], label))


def _cut(
    ranked: Sequence[tuple[str, Unit]],
    parts: Sequence[str],
    fractions: Mapping[str, float],
    owed: dict[str, float],
) -> list[Sequence[tuple[str, Unit]]]:
    """One slice of the ranks for each part; the last part takes the rest.

    `owed` carries the examples that rounding gave a part too few or too many to the next label.
    """
    total = sum(len(unit) for _, unit in ranked)
    fewest = _fewest(len(ranked), [part for part in parts if fractions[part] > 0])
    slices: list[Sequence[tuple[str, Unit]]] = []
    start = 0
    for position, part in enumerate(parts[:-1]):
        wanted = fractions[part] * total + owed[part]
        natural_end, count = start, 0
        while natural_end < len(ranked) and count + len(ranked[natural_end][1]) / 2 <= wanted:
            count += len(ranked[natural_end][1])
            natural_end += 1
        most = len(ranked) - sum(fewest.get(later, 0) for later in parts[position + 1 :])
        end = min(max(natural_end, start + fewest[part]), most)
        owed[part] = wanted - count if end == natural_end else 0.0
        slices.append(ranked[start:end])
        start = end
    slices.append(ranked[start:])
    return slices


def _fewest(units: int, parts: Sequence[str]) -> dict[str, int]:
    """The least number of units for each part: one each; if they do not suffice, train comes first,
    then test."""
    if units >= len(parts):
        return dict.fromkeys(parts, 1)
    first = [part for part in ("train", "test", "dev") if part in parts][:units]
    return {part: int(part in first) for part in parts}


def _fill_empty(
    assigned: dict[str, list[tuple[str, Unit]]], *, spare: set[str] | frozenset[str] = frozenset()
) -> None:
    """Give an empty part, but those that can spare it, the last unit of the part with most."""
    for part in assigned:
        if not assigned[part] and part not in spare:
            richest = max(
                assigned, key=lambda p: (p in spare and bool(assigned[p]), len(assigned[p]))
            )
            assigned[richest].sort()
            assigned[part].append(assigned[richest].pop())
