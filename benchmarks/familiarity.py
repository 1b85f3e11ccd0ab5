"""Does familiarity tell what a base has read? Two bases whose recipes are known.

`python -m benchmarks.familiarity --data DATA [--documents 40] [--out FILE]`, DATA being the folder
with `corpus/` and `models/stories260K`.

1. *nano*, held in against held out, of one kind: chunks of novels and whole dialogues out of the
   pool that its recipe trains on (`pretraining.texts.corpus.documents`), against the first chunks
   of the same shuffled order, which the recipe keeps for measuring. Training drew a few thousand of
   the pool's documents once, so that "cannot tell" is what an honest probe says.
2. *Each base's own text against the other's*: novels and dialogues for nano, and stories in simple
   words, written for this benchmark, for stories260K, which was trained on such stories. The areas
   are by bits a byte of one base, and by the difference of both: how much better it reads a text
   than the other base does. The vocabularies differ, so that bytes count and not tokens.

Nothing that stories260K was trained on is at hand: its first figure is not measured.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.models.load import load
from luthier.models.model import Model
from luthier.probe.blind import blind_area
from luthier.probe.familiarity_words import figure
from luthier.probe.text_scores import MEASURES, score_texts
from luthier.probe.told_apart import area, verdict

HELD_OUT = 190  # of the first 200 kept documents; a few of the shuffled order are left out
HELD_IN_FROM = 400
CHARACTERS = 600
STORIES = Path(__file__).with_name("simple_stories.txt")
Part = dict[str, list[str]]  # texts by kind


def main() -> int:
    """Print both tables; 1 where a base does not find its own text the more familiar one."""
    options = argparse.ArgumentParser()
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--documents", type=int, default=40, help="of each kind and side")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    started = time.perf_counter()
    held_in, held_out = nano_texts(given.data, given.documents)
    stories = [" ".join(text.split())[:CHARACTERS] for text in STORIES.read_text().split("\n\n")]
    nano, small = load("nano"), load(given.data / "models/stories260K")
    rows = held_in_against_out(nano, held_in, held_out)
    own = held_out["novel"] + held_out["dialogue"]
    crossed, failed = own_against_other(nano, small, own, stories)
    lines = [
        "| nano, held in against held out | windows | " + " | ".join(MEASURES) + " | words alone | "
        "verdict |",
        "|---|---|" + "---|" * (len(MEASURES) + 2),
        *rows, "",
        "| text | bits a byte, nano | bits a byte, stories260K |", "|---|---|---|", *crossed,
    ]  # fmt: skip
    print("\n".join(lines))
    print(f"\n{time.perf_counter() - started:.0f} s")
    if given.out:
        given.out.write_text("\n".join(lines) + "\n", "utf-8")
    return int(failed)


def nano_texts(data: Path, count: int) -> tuple[Part, Part]:
    """(held in, held out): the middle of so many documents of each kind."""
    from pretraining.texts.corpus import documents

    held_in: Part = {"novel": [], "dialogue": []}
    held_out: Part = {"novel": [], "dialogue": []}
    for number, row in enumerate(islice(documents(data, 0), HELD_IN_FROM + 20 * count)):
        side = held_out if number < HELD_OUT else held_in if number >= HELD_IN_FROM else None
        if side is None or len(side[row["kind"]]) == count or len(row["text"]) < CHARACTERS:
            continue
        text, middle = row["text"], (len(row["text"]) - CHARACTERS) // 2
        side[row["kind"]].append(text[middle : middle + CHARACTERS])
    return held_in, held_out


def held_in_against_out(model: Model, held_in: Part, held_out: Part) -> list[str]:
    """A row for each kind: the areas of all measures."""
    rows = []
    for kind in held_in:
        first, second = held_in[kind], held_out[kind]
        scores = [score_texts(model, texts) for texts in (first, second)]
        areas = []
        for place in range(len(MEASURES)):
            values: list[Any] = [[s.measures[place] for s in side] for side in scores]
            areas.append(area(*values, of_first=range(len(first)), of_second=range(len(second))))
        blind = blind_area(first, second, of_first=range(len(first)), of_second=range(len(second)))
        rows.append(
            f"| {kind}s | {len(first)} and {len(second)} | "
            + " | ".join(figure(score) for score in areas)
            + f" | {'–' if blind is None else figure(blind)} | {verdict(areas[-1])} |"
        )
    return rows


def own_against_other(
    nano: Model, small: Model, own: Sequence[str], stories: Sequence[str]
) -> tuple[list[str], bool]:
    """The bits a byte of each base for each text, and the areas; and whether one is wrong."""
    bits = {
        name: [[s.bits_a_byte for s in score_texts(model, texts)] for texts in (own, stories)]
        for name, model in (("nano", nano), ("stories260K", small))
    }
    rows = [
        f"| {kind} | {_mean(bits['nano'][side]):.2f} | {_mean(bits['stories260K'][side]):.2f} |"
        for side, kind in enumerate(("novels and dialogues", "simple stories"))
    ]
    numbers = {"of_first": range(len(own)), "of_second": range(len(stories))}
    alone = {
        "nano": area(*_negative(bits["nano"]), **numbers),
        "stories260K": area(*_negative(bits["stories260K"])[::-1],
                            of_first=range(len(stories)), of_second=range(len(own))),
    }  # fmt: skip
    gains = [
        [b - a for a, b in zip(bits["nano"][side], bits["stories260K"][side], strict=True)]
        for side in (0, 1)
    ]
    both = area(*gains, **numbers)
    rows += [
        "",
        f"AUC of own text against the other's, by one base's bits a byte: nano "
        f"{figure(alone['nano'])}, stories260K {figure(alone['stories260K'])}; by the difference "
        f"of both bases {figure(both)}.",
    ]
    return rows, verdict(both) != "more"


def _negative(sides: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[-value for value in side] for side in sides]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    sys.exit(main())
