"""Thirty questions that need arithmetic: whether a base calls the calculator with what was asked.

    python -m benchmarks.calculations --model nano

As `luthier ask MODEL QUESTION --tool calculator` asks them: no demonstration, no training. A
question is right where a call of the calculator returned the right number; `--show` prints every
call.
"""

from __future__ import annotations

import argparse
import json
from decimal import Decimal, InvalidOperation

import luthier
from luthier.models.model import Model
from luthier.scoring.statistics.intervals import wilson
from luthier.tools import open_toolbox

QUESTIONS: tuple[tuple[str, str], ...] = (
    ("17 % of 2,350?", "399.5"),
    ("What is 15% of 480?", "72"),
    ("8 % of 1,150?", "92"),
    ("What is 25 percent of 84?", "21"),
    ("How much is 6 percent of 3,500 EUR?", "210"),
    ("What is 48 times 26?", "1248"),
    ("Multiply 19.5 by 4.", "78"),
    ("45 * 37 = ?", "1665"),
    ("What do 9 pieces at 98 EUR come to?", "882"),
    ("12 boxes with 24 eggs each: how many eggs?", "288"),
    ("A shirt costs 40 EUR and I buy 6. What do I pay?", "240"),
    ("Add 652 and 764.", "1416"),
    ("How much is 7.5 + 12.25?", "19.75"),
    ("1,999 plus 2,001?", "4000"),
    ("What is the sum of 15, 27 and 58?", "100"),
    ("I paid 34 EUR, 18 EUR and 7 EUR. How much is that together?", "59"),
    ("What is 1,250 minus 375?", "875"),
    ("Subtract 88 from 301.", "213"),
    ("751 EUR less a voucher of 197 EUR: what is left to pay?", "554"),
    ("What remains of 500 after 128.5 is spent?", "371.5"),
    ("90 - 17 - 23?", "50"),
    ("Divide 936 by 12.", "78"),
    ("What is 100 divided by 8?", "12.5"),
    ("How much is 6.4 / 1.6?", "4"),
    ("Split 612 EUR into 12 equal payments.", "51"),
    ("A trip of 340 km at 85 km an hour: how many hours?", "4"),
    ("What is (14 + 6) * 3?", "60"),
    ("What is the square root of 1,764?", "42"),
    ("What is 2 to the power of 10?", "1024"),
    ("What is the mean of 12, 18 and 30?", "20"),
)


def right(model: Model, *, show: bool = False) -> int:
    """How many of the thirty were calculated rightly."""
    found = 0
    with open_toolbox(["calculator"]) as box:
        for question, value in QUESTIONS:
            response = model.respond(question, tools=box)
            hit = any(_same(step.result, value) for step in response.steps)
            found += hit
            if show:
                calls = "; ".join(f"{s.call.text} -> {s.result[:60]}" for s in response.steps)
                print(f"{'+' if hit else '-'} {question} | {calls or response.answer}", flush=True)
    return found


def _same(said: str, value: str) -> bool:
    try:
        return abs(Decimal(said.strip()) - Decimal(value)) < Decimal("1e-9")
    except InvalidOperation:
        return False


def main() -> None:
    """Ask, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--show", action="store_true")
    settings = parser.parse_args()
    count = len(QUESTIONS)
    hits = right(luthier.load(settings.model), show=settings.show)
    low, high = wilson(hits, count)
    print(json.dumps({"model": settings.model, "questions": count, "right": hits,
                      "low": low, "high": high}))  # fmt: skip


if __name__ == "__main__":
    main()
