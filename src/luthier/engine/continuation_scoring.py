"""Scoring continuations: each distinct row once, by the engine that suits the base.

A decoder pays for each distinct token once: the requests of a call form a tree of tokens, and what
several prompts share (an instruction, demonstrations, a passage, virtual tokens) is computed once
(see `prefix_tree`). An encoder–decoder encodes each distinct prompt once. Both equal scoring every
joined text alone (`reference`) up to rounding; tests hold them to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from luthier.engine import reference
from luthier.engine.encoder_decoder_scoring import score_encoded_rows
from luthier.engine.engine_choice import chosen_engine, uses_prefix_trees
from luthier.engine.prefix_tree.run_tree import score_rows
from luthier.engine.request_rows import rows_by_vote
from luthier.engine.session import Session
from luthier.engine.votes import results_of
from luthier.models.backend import ScoreRequest, ScoreResult


def score_continuations(session: Session, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
    """The summed log-probability of every continuation of every request.

    For an encoder–decoder the end of the sequence is part of a continuation.
    """
    if session.encoder_decoder and chosen_engine() == "tree":
        score = score_encoded_rows
    elif uses_prefix_trees(session):
        score = score_rows
    else:
        return reference.score(session, requests)
    return results_of(rows_by_vote(session, requests), partial(score, session))
