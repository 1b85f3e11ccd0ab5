"""Small looks at what the reader can do while it learns, on nothing that judges it.

Intents of the domain that is kept out of training, with demonstrations and without, made-up
questions on paragraphs that are kept out, and review sentences.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from pretraining.episodes import Episode, Piece, Pools
from pretraining.episodes.reading import paragraphs
from pretraining.reader import network
from pretraining.reader.batches import Batch, collate, grouped
from pretraining.reader.mixture import ReaderMixture
from pretraining.reader.pairs import Pair, make
from pretraining.texts import corpus


@dataclasses.dataclass(frozen=True)
class Kept:
    """Pairs to answer by choosing among labels, and pairs to answer by exact copying."""

    choices: dict[str, list[tuple[Pair, list[list[int]]]]]  # pairs; ids of all labels
    copies: list[Pair]
    pad: int
    start: int


def prepare(
    mixture: ReaderMixture,
    tokenizer: PreTrainedTokenizerFast,
    pools: Pools,
    limit: int,
    intents: list[tuple[str, str]],
) -> Kept:
    """The questions, always the same; ``intents`` are messages of the domain that is kept out."""
    draw = random.Random("probes")
    choices: dict[str, list[tuple[Pair, list[list[int]]]]] = {"review": []}
    for shots in (0, 3) if intents else ():
        choices[f"work, {shots} shots"] = [
            _intent(intents, draw, tokenizer, shots, limit) for _ in range(90)
        ]
    labels = ["positive", "negative"]
    known = {good: draw.sample(mixture.reviews[good], 60) for good in (True, False)}
    for good, texts in known.items():
        for text in texts:
            head = "Classify the sentiment of the text.\n\nLabels: positive, negative\n\n"
            choices["review"].append(
                _choice(f"{head}Input: {text}\nLabel:", labels[not good], labels, tokenizer, limit)
            )
    copies: list[Pair] = []
    while len(copies) < 120:
        episode = paragraphs.cloze(pools, draw, 500, single=True, held_out=True)
        if (pair := make(episode, tokenizer, limit)) is not None:
            copies.append(pair)
    return Kept(choices, copies, int(tokenizer.pad_token_id), int(tokenizer.eos_token_id))


def _intent(
    rows: list[tuple[str, str]], draw: random.Random, tokenizer: Any, shots: int, limit: int
) -> tuple[Pair, list[list[int]]]:
    labels = draw.sample(sorted({y for _, y in rows}), 6)
    shown = [x for y in labels for x in draw.sample([r for r in rows if r[1] == y], shots)]
    draw.shuffle(shown)
    text, label = draw.choice([r for r in rows if r[1] in labels and r not in shown])
    blocks = ["Name the intent of the message.", "Labels: " + ", ".join(labels)]
    blocks += [f"Input: {x}\nLabel: {y}" for x, y in shown]
    prompt = "\n\n".join([*blocks, f"Input: {text}\nLabel:"])
    return _choice(prompt, label, labels, tokenizer, limit)


def _choice(
    prompt: str, label: str, labels: list[str], tokenizer: Any, limit: int
) -> tuple[Pair, list[list[int]]]:
    pair = make(Episode("probe", [Piece(prompt), Piece(f" {label}", 1.0)]), tokenizer, limit)
    assert pair is not None
    order = [label, *(y for y in labels if y != label)]
    return pair, [list(tokenizer(y)["input_ids"]) for y in order]


@torch.no_grad()
def measure(model: Any, kept: Kept) -> dict[str, float]:
    """Share of right answers, by kind: of labels the likeliest, of copies each token."""
    out = {}
    for name, rows in kept.choices.items():
        hits = [_chosen(model, kept, pair, labels) == 0 for pair, labels in rows]
        out[f"probe.{name}"] = sum(hits) / len(hits)
    right = 0
    for group in grouped(kept.copies, 2048, 16):
        batch = collate(group, kept.pad, kept.start)
        _, scores = _scores(model, batch)
        missed = (scores.argmax(-1) != batch.wanted) & (batch.weights > 0)
        right += int((~missed.any(1)).sum())
    out["probe.reading"] = right / len(kept.copies)
    return out


def _scores(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    states, mask = network.encode(model, batch.source, batch.first)
    decoded = network.decode(model, batch.given, states, mask)
    return states, network.logits(model, decoded.states).float()


def _chosen(model: Any, kept: Kept, pair: Pair, labels: list[list[int]]) -> int:
    """The place of the likeliest label."""
    states, _ = network.encode(model, torch.from_numpy(pair.source)[None])
    width = max(map(len, labels))
    wanted = torch.full((len(labels), width), kept.pad)
    for i, ids in enumerate(labels):
        wanted[i, : len(ids)] = torch.tensor(ids)
    given = torch.cat([torch.full((len(labels), 1), kept.start), wanted[:, :-1]], 1)
    decoded = network.decode(model, given, states.expand(len(labels), -1, -1), None)
    logs = network.logits(model, decoded.states).float().log_softmax(-1)
    each = logs.gather(-1, wanted[..., None])[..., 0].masked_fill(wanted == kept.pad, 0)
    return int(each.sum(1).argmax())


def held_out_intents(data: Any) -> list[tuple[str, str]]:
    """Messages and intents of the domain that is never trained on."""
    keep = corpus.EVALUATION_CLINC_DOMAIN
    return [(t.text, t.label or "") for t in corpus.clinc_texts(data, "val") if t.domain == keep]
