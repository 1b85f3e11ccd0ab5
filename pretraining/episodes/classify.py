"""Classification episodes: zero demonstrations, one, or many, in many layouts and namings."""

from __future__ import annotations

import dataclasses
import random

from pretraining.episodes import classes as sources
from pretraining.episodes.classes import Class
from pretraining.episodes.formats import arbitrary, draw_format, surface
from pretraining.episodes.piece import Episode, Piece
from pretraining.episodes.pools import Pools

FEELING_INSTRUCTIONS = [
    "Classify the sentiment.",
    "Is the text positive or negative?",
    "What is the sentiment?",
    "Decide how the writer feels.",
    "Say whether the feeling is good or bad.",
    "Classify the sentiment of the headline.",
    "Is this good or bad news?",
    None,
    None,
]


def draw_classes(
    pools: Pools,
    draw: random.Random,
    progress: float,
    n: int | None = None,
    kind: str | None = None,
) -> tuple[str, list[Class]]:
    """Kind and classes, ``n`` or more and closer ones as ``progress`` goes 0 → 1."""
    most = 3 if progress < 0.08 else 5 if progress < 0.3 else 8
    n = draw.randint(2, most) if n is None else n
    kinds = {
        "words": 0.5 if progress < 0.08 else 0.15 if progress < 0.3 else 0.05,
        "near": 0.16,
        "hard": 0.03 if progress < 0.08 else 0.17,
        "names": 0.12,
        "clusters": 0.1,
        "intents": 0.2,
        "feelings": 0.24,
        "domains": 0.02,
    }
    if kind is None:
        kind = draw.choices(list(kinds), list(kinds.values()))[0]
    if kind == "words":
        return kind, sources.words(pools, draw, n)
    if kind in ("near", "hard"):
        return kind, sources.neighbourhoods(pools, draw, n, kind == "hard")
    if kind == "names":
        return kind, sources.read_names(pools, draw, n)
    if kind == "clusters":
        return kind, sources.clusters(pools, draw, n)
    if kind == "intents":
        return kind, sources.intents(pools, draw, n)
    if kind == "feelings":
        return kind, sources.feelings(pools, draw, draw.choice([2, 2, 3]))
    return kind, sources.domains(pools, draw, n)


def name(
    kind: str, found: list[Class], pools: Pools, draw: random.Random
) -> tuple[list[str], bool]:
    """Labels for the classes, and whether they mean anything."""
    real_share = {"near": 0.35, "hard": 0.35, "words": 0.3, "names": 0.95, "clusters": 0.55}
    if all(c.names for c in found) and draw.random() < real_share.get(kind, 0.72):
        if kind in ("near", "hard", "clusters"):
            first = [
                "_".join(draw.sample(c.names[:3], min(len(c.names), draw.choice([1, 2, 2, 3]))))
                for c in found
            ]
        else:
            first = [c.names[0] for c in found]
        if len(set(first)) == len(first):
            return (first if kind == "feelings" else surface(draw, first)), True
    return arbitrary(draw, len(found), pools.words), False


def classification(
    pools: Pools,
    draw: random.Random,
    progress: float,
    budget: int,
    *,
    sums: bool = False,
    classes: int | None = None,
    usual: float = 0.35,
    telling: bool = False,
    kind: str | None = None,
) -> Episode:
    """One episode of about ``budget`` characters; zero-shot ones are cut to few examples.

    With ``sums`` every text has a sentence vector. ``classes`` asks for that many, ``usual`` is the
    share of the project's own layout; ``telling`` wants names that mean something, and no examples;
    ``kind`` is where the classes come from.
    """
    wanted = kind
    while True:
        kind, found = draw_classes(pools, draw, progress, classes, wanted)
        if len(found) >= 2 and not (sums and kind in ("words", "feelings")):
            break
    labels, meaning = name(kind, found, pools, draw)
    listed = draw.random() < (0.75 if meaning else 0.4)
    zero_share = 1.0 if telling else {"feelings": 0.5, "names": 0.8}.get(kind, 0.4)
    zero_shot = meaning and draw.random() < zero_share
    instruction = draw.choice(FEELING_INSTRUCTIONS) if kind == "feelings" else None
    if zero_shot:
        listed = True
    shape = draw_format(draw, labels, listed=listed, instruction=instruction, usual=usual)

    stream: list[tuple[int, tuple[str, int]]] = []
    shots = draw.choice([1, 2]) if zero_shot else draw.choice([2, 3, 4, 6, 8, 12])
    for k, c in enumerate(found):
        members = draw.sample(c.members, min(len(c.members), shots))
        stream += [(k, m) for m in members]
    draw.shuffle(stream)
    if zero_shot:
        stream = stream[: draw.choice([1, 1, 2, 3])]

    pieces = [Piece(t, tag=k if meaning else -1, due=False) for t, k in shape.head if t]
    seen = [0] * len(found)
    length = sum(len(t) for t, _ in shape.head)
    for position, (k, (text, row)) in enumerate(stream):
        text = text.strip()
        if length + len(text) > budget and position > 2:
            break
        if kind != "words" and len(text) > 240:
            text = text[:240]
        length += len(text) + len(labels[k]) + 20
        if position:
            pieces.append(Piece(shape.between, 0.15))
        pieces.append(Piece(f"{shape.before}{text}"))
        pieces.append(Piece(shape.cue, about=row))
        known = 1.0 if seen[k] else (0.7 if meaning and listed else 0.25 if meaning else 0.0)
        pieces.append(Piece(f" {labels[k]}", known, tag=k))
        seen[k] += 1
    ends = draw.random() < 0.5
    if not ends:
        pieces.append(Piece("\n", 0.3))
    return Episode(kind + (".zero" if zero_shot else ""), pieces, ends)


def as_chat(episode: Episode) -> Episode:
    """The same episode as a conversation: everything before the last answer is the user's turn."""
    kept = episode.pieces if episode.ends else episode.pieces[:-1]
    *before, last = kept
    cue = before[-1]
    pieces = [
        Piece("<|user|>\n"),
        *[dataclasses.replace(p, about=-1) for p in before],
        Piece("<|end|>\n<|assistant|>"),
        Piece("\n", about=cue.about),
        Piece(last.text.strip(), last.weight, tag=last.tag),
        Piece("<|end|>", 0.3),
    ]
    return Episode(episode.kind + ".chat", pieces, True)
