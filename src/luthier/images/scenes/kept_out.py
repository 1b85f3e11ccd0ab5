"""Which shapes the embedded model never saw in which colours: they test what it combines."""

from __future__ import annotations

from luthier.images.scenes.scene import COLOURS, SHAPES


def is_kept_out(shape: str | None, colour: str | None) -> bool:
    """Whether a shape is never drawn in a colour while the model learns: one colour of each."""
    if shape is None or colour is None or shape not in SHAPES:
        return False
    return kept_out_colour(shape) == colour


def kept_out_colour(shape: str) -> str:
    """The colour in which a shape is never drawn while the model learns."""
    names = list(COLOURS)
    return names[(2 * SHAPES.index(shape) + 1) % len(names)]
