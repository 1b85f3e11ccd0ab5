"""A reward model on real pairs of a better and a worse answer, against their lengths alone.

    python -m benchmarks.reward_pairs --data FOLDER --model nano

`--data` holds dpo_en_demo.json (conversations, chosen, rejected). The pairs are cut into folds; a
reward model learns from the others and tells better from worse in its fold, so that every pair is
judged once by a model that did not see it. The baseline says "longer is better", or "shorter is",
whichever was so among the pairs that the model learnt from. Intervals are 95 %: Wilson's for
shares, a bootstrap over pairs for the difference.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import luthier
from luthier.feedback.exchange.conversation_turns import turns_of
from luthier.feedback.reward_report import accuracy
from luthier.feedback.sample import asked
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.reward_training import RewardPair, RewardSettings, train_reward

FILE = "dpo_en_demo.json"
RESAMPLES = 10_000


def pairs(data: Path, *, characters: int | None = None) -> list[RewardPair]:
    """The pairs of the file. With `characters` answers are cut after so many, and prompts before
    their last so many."""
    found = []
    for number, row in enumerate(json.loads((data / FILE).read_text("utf-8"))):
        turns = turns_of(row["conversations"], name="conversations")
        better, worse = (row[side]["value"] for side in ("chosen", "rejected"))
        if characters is not None:
            turns = tuple((role, text[-characters:]) for role, text in turns[-1:])
            better, worse = better[:characters], worse[:characters]
        if better != worse:
            example = Example(str(number), asked(turns), better, rejected=worse)
            found.append(RewardPair(example))
    return found


def measure(
    model: Model, given: Sequence[RewardPair], *, folds: int, tokens: int, epochs: float
) -> dict[str, Any]:
    """Held-out accuracy of a reward model and of lengths, and their difference pair by pair."""
    order = list(given)
    random.Random(0).shuffle(order)
    right: list[float] = []
    by_length: list[float] = []
    spent, began = 0, time.perf_counter()
    for fold in range(folds):
        held_out, learnt = order[fold::folds], [p for i, p in enumerate(order) if i % folds != fold]
        settings = RewardSettings(tokens, epochs=epochs)
        reward, took = train_reward(model, learnt, settings, seed=fold)
        spent += took
        examples = [p.example for p in held_out]
        with reward.opened() as live:
            better = live(examples, [e.target for e in examples])
            worse = live(examples, [e.rejected or "" for e in examples])
        right += [float(b > w) for b, w in zip(better, worse, strict=True)]
        sign = 1 if sum(map(_longer, learnt)) >= 0 else -1
        by_length += [0.5 + 0.5 * sign * _longer(p) for p in held_out]
        print(json.dumps({"fold": fold, "pairs": len(held_out), "right": sum(right) / len(right)}),
              flush=True)  # fmt: skip
    gaps = np.array(right) - np.array(by_length)
    draws = np.random.default_rng(0).integers(0, len(gaps), (RESAMPLES, len(gaps)))
    low, high = np.quantile(gaps[draws].mean(1), [0.025, 0.975])
    return {
        "pairs": len(order), "folds": folds, "reward": _share(right),
        "length_only": _share(by_length), "difference": round(float(gaps.mean()), 3),
        "difference_low": round(float(low), 3), "difference_high": round(float(high), 3),
        "spent_tokens": spent, "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


def _longer(pair: RewardPair) -> int:
    gap = len(pair.example.target) - len(pair.example.rejected or "")
    return (gap > 0) - (gap < 0)


def _share(right: Sequence[float]) -> dict[str, float | None]:
    found = accuracy(right)
    values = {"value": found.value, "low": found.low, "high": found.high}
    return {name: None if v is None else round(v, 3) for name, v in values.items()}


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--tokens", type=int, default=4_000_000, help="of each reward model")
    parser.add_argument(
        "--characters", type=int, help="of a prompt and of an answer; all unless given"
    )
    parser.add_argument("--limit", type=int, help="pairs, the first of the file")
    settings = parser.parse_args()
    model = luthier.load(settings.model)
    model = model.adapt(decoding=replace(model.adaptation.decoding, labels=()))
    given = pairs(settings.data, characters=settings.characters)[: settings.limit]
    found = measure(
        model, given, folds=settings.folds, tokens=settings.tokens, epochs=settings.epochs
    )
    print(json.dumps({"model": settings.model, "characters": settings.characters, **found}))


if __name__ == "__main__":
    main()
