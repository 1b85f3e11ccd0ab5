"""The mixture: which episode comes next, as training goes on."""

from __future__ import annotations

import random

from pretraining.episodes import calls, slots, synthetic
from pretraining.episodes.classify import as_chat, classification
from pretraining.episodes.piece import Episode
from pretraining.episodes.pools import Pools
from pretraining.episodes.reading import paragraphs, passages


class Mixture:
    """Draws episodes; ``progress`` in 0 to 1 moves from short and few to long and many."""

    def __init__(self, pools: Pools) -> None:
        self.pools = pools

    def shares(self, progress: float) -> dict[str, float]:
        """Share of each family, in episodes."""
        early = max(0.0, 1 - progress / 0.15)
        late = min(1.0, max(0.0, (progress - 0.3) / 0.1))  # classes are told apart by then
        return {
            "classification": 0.38 - 0.1 * late,
            "induction": 0.02 + 0.12 * early,
            "look-up": 0.03,
            "rule": 0.01,
            "arithmetic": 0.01,
            "tool": 0.08 + 0.06 * late,
            "slot call": 0.05 + 0.02 * late,
            "slot question": 0.05,
            "facts": 0.03,
            "extract": 0.02,
            "reading": 0.23 + 0.09 * late,
            "natural": 0.05 * (1 - early) + 0.05 * late,
            "asked": 0.02 * (1 - early),
            "prompted": 0.02 * (1 - early),
            "running": 0.025 + 0.015 * min(1.0, progress / 0.5),
        }

    def characters(self, draw: random.Random, progress: float) -> int:
        """Length budget of a classification episode."""
        if progress < 0.08:
            return draw.choice([300, 500, 700])
        if progress < 0.3:
            return draw.choice([400, 800, 1200])
        return draw.choice([500, 900, 1400, 2000, 2800])

    def passage(self, draw: random.Random, progress: float) -> int:
        """Length of a passage, in characters."""
        return draw.choice([150, 250, 400] if progress < 0.15 else [150, 250, 400, 700, 1000])

    def draw(self, draw: random.Random, progress: float) -> Episode:
        """The next episode; below zero, only texts to sum up."""
        if progress < 0:
            return classification(self.pools, draw, 0.5, draw.choice([200, 400, 800]), sums=True)
        shares = self.shares(progress)
        kind = draw.choices(list(shares), list(shares.values()))[0]
        pools = self.pools
        if kind == "classification":
            episode = classification(pools, draw, progress, self.characters(draw, progress))
            return as_chat(episode) if draw.random() < 0.07 else episode
        if kind == "reading":
            return paragraphs.cloze(pools, draw, self.passage(draw, progress))
        if kind == "natural":
            return paragraphs.natural(pools, draw, self.passage(draw, progress))
        if kind == "running":
            return passages.running(pools, draw, 1000 if progress < 0.5 else 2000)
        return self.made(kind, draw, progress)

    def made(self, kind: str, draw: random.Random, progress: float) -> Episode:
        """An episode of a kind that has no settings of its own."""
        pools = self.pools
        if kind == "prompted":
            return passages.prompted(pools, draw, 1200 if progress < 0.5 else 2500)
        makers = {
            "induction": synthetic.induction,
            "look-up": synthetic.look_up,
            "rule": synthetic.rule,
            "arithmetic": synthetic.arithmetic,
            "tool": calls.tool_call,
            "asked": paragraphs.asked,
            "slot call": slots.slot_call,
            "slot question": slots.slot_question,
            "facts": passages.facts,
            "extract": passages.extract,
        }
        return makers[kind](pools, draw)
