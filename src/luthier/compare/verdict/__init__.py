"""Which one should I use? The cheapest technique that is statistically tied with the best."""

from luthier.compare.verdict.decide import Evidence, decide

__all__ = ["Evidence", "decide"]
