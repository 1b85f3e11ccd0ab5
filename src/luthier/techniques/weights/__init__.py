"""Techniques that change weights: all of them, or a few beside them."""
