"""Which one should I use? The cheapest technique within a tolerance of the best."""

from luthier.compare.verdict.decide import decide
from luthier.compare.verdict.evidence import Evidence, tried

__all__ = ["Evidence", "decide", "tried"]
