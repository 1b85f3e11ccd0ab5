"""Safety first, then helpfulness (Llama 2, arXiv:2307.09288, section 3.2.3).

The probability that an answer is good is σ of a reward. Where the safety model gives it less than
0.15, its safety reward counts; else its helpfulness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.records import Example
from luthier.training.health import Reward

UNSAFE_BELOW = 0.15


@dataclass(frozen=True, slots=True)
class CombinedReward:
    """Both rewards as one. Without a safety model helpfulness counts alone."""

    helpful: Reward
    safe: Reward | None = None

    def __call__(self, examples: Sequence[Example], answers: Sequence[str]) -> list[float]:
        """A number for each answer; the optimiser whitens them."""
        helpful = self.helpful(examples, answers)
        if self.safe is None:
            return helpful
        safe = self.safe(examples, answers)
        limit = math.log(UNSAFE_BELOW / (1 - UNSAFE_BELOW))
        # An unsafe answer is below every safe one, however helpful it is.
        least = min([h for h, s in zip(helpful, safe, strict=True) if s >= limit], default=0.0)
        return [
            h if s >= limit else least + (s - limit) for h, s in zip(helpful, safe, strict=True)
        ]
