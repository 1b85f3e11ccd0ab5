"""Scoring continuations with a decoder-only model, paying for each distinct token once.

The requests of a call form a tree of tokens: what several prompts share (instruction,
demonstrations, passage, virtual tokens) is computed once at every level of it, equal requests are
answered once, and the continuations of a prompt stand in one row under a tree mask. See `tree/`.
Equal to scoring every joined text alone (`plain_scoring`) up to rounding; tests hold it to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.models.backend import ScoreRequest, ScoreResult
from luthier.models.local import plain_scoring
from luthier.models.local.session import Session
from luthier.models.local.tree.masks import masks as masks_at
from luthier.models.local.tree.rows import rows_of, voting_rows
from luthier.models.local.tree.run import TOKENS_A_BATCH, score_rows
from luthier.models.local.votes import results_of

__all__ = ["LOGITS_A_BATCH", "TOKENS_A_BATCH", "masks", "rows_of", "score"]

LOGITS_A_BATCH = 48_000_000  # elements: 192 MB of float32


def score(session: Session, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """Summed log-probabilities of every continuation of every request."""
    if plain_scoring.engine() == "plain" or not plain_scoring.knows_trees(session):
        return plain_scoring.score(session, requests)
    return results_of(voting_rows(session, requests), lambda rows: score_rows(session, rows))


def masks(session: Session, visible: torch.Tensor, positions: torch.Tensor, past: int) -> Any:
    """As `masks.masks`, after `past` tokens in a cache at positions 0 … past − 1."""
    cached = torch.arange(past, device=positions.device).expand(positions.shape[0], past)
    return masks_at(session, visible, positions, torch.cat([cached, positions], dim=1))
