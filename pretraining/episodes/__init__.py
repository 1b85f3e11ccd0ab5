"""Episodes: the prompts ``nano`` learns to respond to.

An :class:`Episode` is text in pieces; a piece carries the weight of its tokens in the loss and,
where it ends just before an answer, the short text whose sentence vector belongs there.
"""

from .mixture import Mixture
from .piece import Episode, Piece
from .pools import Pools

__all__ = ["Episode", "Mixture", "Piece", "Pools"]
