"""Attention masks for rows whose tokens do not simply follow one another."""

from __future__ import annotations

from typing import Any

import torch

from luthier.engine.session import Session


def attention_masks(
    session: Session, seen: torch.Tensor, positions: torch.Tensor, keys: torch.Tensor
) -> Any:
    """The additive (B, 1, Q, K) mask, or one for each kind of layer where some layers slide.

    `seen` (B, Q, K) says what may be attended to, `positions` (B, Q) and `keys` (B, K) where
    queries and keys stand. A sliding layer sees keys less than `sliding_window` positions back.
    """
    config = session.module.config.get_text_config()
    lowest = torch.finfo(session.dtype).min

    def additive(allowed: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(allowed.shape, dtype=session.dtype, device=allowed.device)
        return mask.masked_fill(~allowed, lowest).unsqueeze(1)

    window = sliding_window(config)
    if not window:
        return additive(seen)
    near = positions.unsqueeze(2) - keys.unsqueeze(1) < window
    sliding = additive(seen & near)
    if getattr(config, "layer_types", None) is None:
        return sliding
    return {"full_attention": additive(seen), "sliding_attention": sliding}


def sliding_window(config: Any) -> int:
    """How many positions back the layers of a text config see that slide; 0 where none does."""
    window: int = getattr(config, "sliding_window", None) or 0
    kinds = getattr(config, "layer_types", None)
    slides = kinds is None or "sliding_attention" in kinds
    return window if slides and getattr(config, "use_sliding_window", True) is not False else 0
