"""Amounts as readers see them: rounding, units, and the dash that is never a zero."""

from __future__ import annotations

import math
from typing import Any

import pytest

from luthier.report import amounts

WRITERS = (
    amounts.number, amounts.rate, amounts.seconds, amounts.milliseconds, amounts.scaled,
    amounts.count, amounts.size, amounts.money, amounts.probability,
)  # fmt: skip


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("value", [None, math.nan])
def test_unmeasured_is_a_dash(write: Any, value: float | None) -> None:
    assert write(value) == "–"


def test_an_unmeasured_score_or_end_is_a_dash() -> None:
    assert amounts.score(None, fraction=True) == "–"
    assert amounts.difference(None, fraction=True) == "–"
    assert amounts.interval(0.1, None, fraction=True) == "–"


@pytest.mark.parametrize(
    ("write", "value", "expected"),
    [
        (amounts.seconds, 0, "0 s"),
        (amounts.seconds, 0.000005, "<1 ms"),
        (amounts.seconds, 0.031, "31 ms"),
        (amounts.seconds, 3.14, "3.1 s"),
        (amounts.seconds, 59.6, "1 min"),
        (amounts.seconds, 104, "1 min 44 s"),
        (amounts.seconds, 3_599.7, "1 h"),
        (amounts.seconds, 7_500, "2 h 05 min"),
        (amounts.milliseconds, 8.24, "8.2 ms"),
        (amounts.milliseconds, 999.6, "1.0 s"),
        (amounts.scaled, 9_999, "9,999"),
        (amounts.scaled, 12_800, "12.8 k"),
        (amounts.scaled, 999_600, "1 M"),
        (amounts.scaled, 14_200_000, "14.2 M"),
        (amounts.count, 37.5, "37.5"),
        (amounts.count, 1_204.4, "1,204"),
        (amounts.size, 812, "812 B"),
        (amounts.size, 999_600, "1.0 MB"),
        (amounts.size, 28_412_000, "28 MB"),
        (amounts.money, 0, "$0"),
        (amounts.money, 1.4e-10, "<$0.000001"),
        (amounts.money, 0.00423, "$0.0042"),
        (amounts.money, 1.2499, "$1.25"),
        (amounts.money, 1_240, "$1,240"),
        (amounts.rate, 1, "100 %"),
        (amounts.rate, 0.99999, ">99.9 %"),
        (amounts.rate, 0.00001, "<0.1 %"),
        (amounts.rate, 0.993, "99.3 %"),
        (amounts.probability, 0.0001, "<0.001"),
        (amounts.probability, 0.0449, "0.045"),
        (amounts.number, 0.9996, "1.00"),
        (amounts.number, 12.345, "12.3"),
        (amounts.number, -0.5, "−0.500"),
        (amounts.number, math.inf, "∞"),
    ],
)
def test_written(write: Any, value: float, expected: str) -> None:
    assert plain(write(value)) == expected


def test_differences_carry_their_sign() -> None:
    assert amounts.difference(0.024, fraction=True) == "+0.024"
    assert amounts.difference(-0.024, fraction=True) == "−0.024"
    assert amounts.difference(-0.0001, fraction=True) == "±0.000"


def test_other_currencies() -> None:
    assert amounts.money(2.5, "EUR") == "€2.50"
    assert plain(amounts.money(2.5, "CHF")) == "CHF 2.50"
