"""From an episode, which is one text, to a prompt and its answer: what an encoder–decoder learns.

The last answer whose class or words were shown before becomes the target; what stands before it is
the prompt, and what follows is left out. Positions to look at are counted in the prompt: where an
answer's token is to be copied from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerFast

from pretraining.episodes.piece import Episode, Piece

ANSWERED = 0.5  # a piece of at least this weight is an answer
LONGEST = 64  # tokens of an answer


@dataclasses.dataclass(frozen=True)
class Pair:
    """Token ids of prompt (S,) and answer (U,), both with their opening and end; the weight of each
    answer token (U,); looks: the answer token, and where in the prompt it stands."""

    kind: str
    source: np.ndarray
    target: np.ndarray
    weights: np.ndarray
    looks: list[tuple[int, list[int]]]


def split(episode: Episode) -> tuple[list[Piece], list[Piece]] | None:
    """Pieces of the prompt and of the answer; None where nothing is to be answered."""
    pieces = episode.pieces
    least = 0.01 if episode.kind == "prompted" else ANSWERED
    strong = [i for i, p in enumerate(pieces) if p.weight >= least and p.text.strip()]
    if episode.kind == "prompted":
        strong = [i for i in strong if pieces[i].text != "<|end|>"]
    if not strong:
        return None
    if episode.kind == "tool":  # the call is one answer, its fixed parts included
        first = next(i for i, p in enumerate(pieces) if p.text.startswith('{"name": "'))
        return pieces[:first], pieces[first:]
    last = strong[-1]
    return pieces[:last], [pieces[last]]


def make(episode: Episode, tokenizer: PreTrainedTokenizerFast, limit: int) -> Pair | None:
    """Tokenise an episode; None where it has no answer, or where its prompt is too long."""
    parts = split(episode)
    if parts is None:
        return None
    prompt, answer = parts
    while answer and (not answer[-1].text.strip() or answer[-1].text == "<|end|>"):
        answer = answer[:-1]
    source, owners = _tokens(prompt, tokenizer)
    target, whose = _tokens(answer, tokenizer)
    if not target or len(source) + 2 > limit or len(target) > LONGEST:
        return None
    looks = []
    places: dict[int, list[list[int]]] = {}
    for i, piece in enumerate(prompt):
        if piece.tag >= 0 and (at := np.flatnonzero(owners == i)).size:
            places.setdefault(piece.tag, []).append(list(at))
    for i, piece in enumerate(answer):
        own = np.flatnonzero(whose == i)
        for n, place in enumerate(own):
            spots = [at[n] for at in places.get(piece.tag, []) if _alike(source, at, target, own)]
            if not spots and n == 0:
                spots = [at[0] for at in places.get(piece.tag, [])]
            if spots:
                looks.append((int(place) + 1, [int(s) + 1 for s in spots]))
    weights = [0.1, *(max(0.2, answer[w].weight) for w in whose), 1.0]
    return Pair(
        episode.kind,
        np.array([tokenizer.bos_token_id, *source, tokenizer.eos_token_id], dtype=np.int64),
        np.array([tokenizer.bos_token_id, *target, tokenizer.eos_token_id], dtype=np.int64),
        np.array(weights, dtype=np.float32),
        looks,
    )


def _tokens(
    pieces: Sequence[Piece], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], np.ndarray]:
    """Ids of the whole text, and the piece in which each token's last character stands."""
    text = "".join(p.text for p in pieces).rstrip(" ")
    found = tokenizer._tokenizer.encode(text, add_special_tokens=False)
    ends = np.array([max(0, e - 1) for _, e in found.offsets], dtype=np.int64)
    bounds = np.cumsum([0] + [len(p.text) for p in pieces])
    owner = np.searchsorted(bounds, ends, side="right") - 1
    return found.ids, np.clip(owner, 0, max(0, len(pieces) - 1))


def _alike(source: list[int], at: list[int], target: list[int], own: np.ndarray) -> bool:
    return len(at) == len(own) and all(
        source[a] == target[o] for a, o in zip(at[1:], own[1:], strict=True)
    )
