"""Episodes: the prompts ``nano`` learns to respond to.

An :class:`Episode` is text in pieces; a piece carries the weight of its tokens in the loss and,
where it ends just before an answer, the short text whose sentence vector belongs there.
"""

from pretraining.episodes.mixture import Mixture
from pretraining.episodes.piece import Episode, Piece
from pretraining.episodes.pools import Pools

__all__ = ["Episode", "Mixture", "Piece", "Pools"]
