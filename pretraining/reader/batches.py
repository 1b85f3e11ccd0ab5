"""Pairs of like length in batches, in an order that the seed alone decides."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from pretraining.episodes import Mixture
from pretraining.reader import network
from pretraining.reader.pairs import Pair, make


@dataclasses.dataclass(frozen=True)
class Batch:
    """What one pass reads. B rows, S and U tokens, L looks."""

    kinds: list[str]
    source: Tensor  # (B, S) padded
    first: Tensor  # (B,) position of each row's first token
    given: Tensor  # (B, U) what the decoder reads: start token, then the answer
    wanted: Tensor  # (B, U) the answer
    weights: Tensor  # (B, U), zero at padding
    places: Tensor  # (L, 2) row, answer token
    looks: Tensor  # (L, S) where that token stands

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        moved = {
            f.name: value.to(device)
            for f in dataclasses.fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return dataclasses.replace(self, **moved)


def drawn(
    mixture: Mixture,
    tokenizer: PreTrainedTokenizerFast,
    draw: random.Random,
    count: int,
    progress: float,
    limit: int,
) -> list[Pair]:
    """``count`` pairs; episodes without an answer, or too long, are drawn anew."""
    out: list[Pair] = []
    while len(out) < count:
        pair = make(mixture.draw(draw, progress), tokenizer, limit)
        if pair is not None:
            out.append(pair)
    return out


def grouped(pairs: list[Pair], most_tokens: int, most_rows: int) -> list[list[Pair]]:
    """Groups of like length, each of at most ``most_tokens`` with their padding."""
    groups: list[list[Pair]] = []
    for pair in sorted(pairs, key=lambda p: len(p.source)):
        size = len(groups[-1]) + 1 if groups else 0
        if not groups or len(pair.source) * size > most_tokens or size > most_rows:
            groups.append([])
        groups[-1].append(pair)
    return groups


def collate(
    group: list[Pair], pad: int, start: int, draw: random.Random | None = None, multiple: int = 8
) -> Batch:
    """One batch. With ``draw`` one row in six begins at any position, so that all of them learn."""
    longest = -(-max(len(p.source) for p in group) // multiple) * multiple
    width = max(len(p.target) for p in group)
    b = len(group)
    source = torch.full((b, longest), pad)
    given = torch.full((b, width), pad)
    wanted = torch.full((b, width), pad)
    weights = torch.zeros(b, width)
    first = torch.zeros(b, dtype=torch.long)
    places, looks = [], []
    for r, pair in enumerate(group):
        source[r, : len(pair.source)] = torch.from_numpy(pair.source)
        wanted[r, : len(pair.target)] = torch.from_numpy(pair.target)
        given[r, 0] = start
        given[r, 1 : len(pair.target)] = torch.from_numpy(pair.target[:-1])
        weights[r, : len(pair.target)] = torch.from_numpy(pair.weights)
        if draw is not None and draw.random() < 1 / 6:
            first[r] = draw.randint(0, network.POSITIONS - longest)
        for token, spots in pair.looks:
            places.append((r, token))
            looks.append(spots)
    mask = torch.zeros(len(looks), longest, dtype=torch.bool)
    for i, spots in enumerate(looks):
        mask[i, spots] = True
    return Batch(
        [p.kind for p in group],
        source,
        first,
        given,
        wanted,
        weights,
        torch.tensor(places, dtype=torch.long).reshape(-1, 2),
        mask,
    )


def pool(
    mixture: Mixture,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    number: int,
    size: int,
    progress: float,
    limit: int,
    most_tokens: int,
    most_rows: int,
) -> Iterator[Batch]:
    """The batches of pool ``number``, shuffled."""
    draw = random.Random(f"{seed}/{number}")
    groups = grouped(drawn(mixture, tokenizer, draw, size, progress, limit), most_tokens, most_rows)
    draw.shuffle(groups)
    pad, start = int(tokenizer.pad_token_id), int(tokenizer.eos_token_id)
    for group in groups:
        yield collate(group, pad, start, draw)
