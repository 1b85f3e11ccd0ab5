"""The unit of training data: text in pieces, and how it becomes tokens and weights."""

from __future__ import annotations

import dataclasses

import numpy as np
from transformers import PreTrainedTokenizerFast


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some text; ``weight`` of its tokens in the loss; ``about`` the short text it sums up.

    Pieces of one ``tag`` are interchangeable answers: where one is due, the earlier ones are what
    to look at.
    """

    text: str
    weight: float = 0.0
    about: int = -1
    tag: int = -1
    due: bool = True  # whether a tagged piece is an answer, rather than only something to look at


@dataclasses.dataclass(frozen=True)
class Episode:
    """Pieces in order, and the kind of episode for the records."""

    kind: str
    pieces: list[Piece]
    ends: bool = True  # whether <|eos|> follows


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Token ids (T,), weight of predicting each token (T,), cue positions and their texts."""

    kind: str
    ids: np.ndarray
    weights: np.ndarray
    cues: np.ndarray  # (cues, 2): position, short text; before each answer and at its first token
    looks: list[tuple[int, list[int]]]  # position before an answer, positions to look at


def encode(episode: Episode, tokenizer: PreTrainedTokenizerFast, limit: int) -> Encoded:
    """Tokenise the whole text at once, as a user would, and give each token its piece's weight."""
    text = "".join(p.text for p in episode.pieces)
    found = tokenizer._tokenizer.encode(text)
    ids = np.array(found.ids[:limit], dtype=np.int64)
    starts = np.array([s for s, _ in found.offsets[:limit]])
    bounds = np.cumsum([0] + [len(p.text) for p in episode.pieces])
    owner = np.clip(np.searchsorted(bounds, starts, side="right") - 1, 0, len(episode.pieces) - 1)
    weights = np.array([p.weight for p in episode.pieces], dtype=np.float32)[owner]
    weights[0] = 0.0
    cues = []
    for i, piece in enumerate(episode.pieces):
        if piece.about >= 0:
            at = np.flatnonzero(owner == i)
            if len(at) and at[-1] + 1 < limit:
                cues += [(at[-1], piece.about), (at[-1] + 1, piece.about)]
    looks, known = [], {}  # type: list[tuple[int, list[int]]], dict[int, list[int]]
    for i, piece in enumerate(episode.pieces):
        if piece.tag >= 0:
            at = np.flatnonzero(owner == i)
            if not len(at):
                continue
            if piece.due and known.get(piece.tag):
                looks.append((int(at[0]) - 1, list(known[piece.tag])))
            known.setdefault(piece.tag, []).append(int(at[0]))
    if episode.ends and len(ids) < limit:
        ids = np.append(ids, tokenizer.eos_token_id)
        weights = np.append(weights, np.float32(0.2))
    return Encoded(episode.kind, ids, weights, np.array(cues, dtype=np.int64).reshape(-1, 2), looks)
