"""The mixture: which episode comes next, as training goes on."""

from __future__ import annotations

import random

from . import calls, passages, reading, synthetic
from .classify import as_chat, classification
from .piece import Episode
from .pools import Pools


class Mixture:
    """Draws episodes; ``progress`` in 0 to 1 moves from short and few to long and many."""

    def __init__(self, pools: Pools) -> None:
        self.pools = pools

    def shares(self, progress: float) -> dict[str, float]:
        """Share of each family, in episodes."""
        early = max(0.0, 1 - progress / 0.15)
        return {
            "classification": 0.47,
            "induction": 0.03 + 0.16 * early,
            "look-up": 0.03,
            "rule": 0.02,
            "arithmetic": 0.01,
            "tool": 0.12 * (1 - early),
            "facts": 0.03,
            "extract": 0.02,
            "reading": 0.15 * (1 - early),
            "asked": 0.07 * (1 - early),
            "prompted": 0.03 * (1 - early),
            "running": 0.03 + 0.03 * min(1.0, progress / 0.5),
        }

    def characters(self, draw: random.Random, progress: float) -> int:
        """Length budget of a classification episode."""
        if progress < 0.08:
            return draw.choice([300, 500, 700])
        if progress < 0.3:
            return draw.choice([400, 800, 1200])
        return draw.choice([500, 900, 1400, 2000, 2800])

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
        if kind == "prompted":
            return passages.prompted(pools, draw, 1200 if progress < 0.5 else 2500)
        if kind == "reading":
            return reading.cloze(pools, draw, draw.choice([250, 500, 800, 1100]))
        if kind == "running":
            return passages.running(pools, draw, 1000 if progress < 0.5 else 2000)
        makers = {
            "induction": synthetic.induction,
            "look-up": synthetic.look_up,
            "rule": synthetic.rule,
            "arithmetic": synthetic.arithmetic,
            "tool": calls.tool_call,
            "asked": reading.asked,
            "facts": passages.facts,
            "extract": passages.extract,
        }
        return makers[kind](pools, draw)
