"""Scoring continuations with a decoder-only model, paying for each distinct token once.

The requests of a call form a tree of tokens: what several prompts share (instruction,
demonstrations, passage, virtual tokens) is computed once at every level of it, equal requests are
answered once, and the continuations of a prompt stand in one row under a tree mask. See `tree/`.
Equal to scoring every joined text alone (`reference`) up to rounding; tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.engine import reference
from luthier.engine.prefix_tree.masks import masks as masks_at
from luthier.engine.prefix_tree.run_tree import TOKENS_A_BATCH, score_rows
from luthier.engine.prefix_tree.token_rows import rows_by_vote, token_rows
from luthier.engine.session import Session
from luthier.engine.votes import results_of
from luthier.models.backend import ScoreRequest, ScoreResult

__all__ = ["LOGITS_A_BATCH", "TOKENS_A_BATCH", "masks", "score", "token_rows"]

LOGITS_A_BATCH = 48_000_000  # elements: 192 MB of float32


def score(session: Session, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """Summed log-probabilities of every continuation of every request."""
    if reference.chosen_engine() == "plain" or not reference.knows_trees(session):
        return reference.score(session, requests)
    return results_of(rows_by_vote(session, requests), lambda rows: score_rows(session, rows))


def masks(session: Session, visible: torch.Tensor, positions: torch.Tensor, past: int) -> Any:
    """As `masks.masks`, after `past` tokens in a cache at positions 0 … past − 1."""
    cached = torch.arange(past, device=positions.device).expand(positions.shape[0], past)
    return masks_at(session, visible, positions, torch.cat([cached, positions], dim=1))
