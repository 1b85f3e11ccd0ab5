"""Where the classes of an episode come from.

Each function returns two or more classes; a class has candidate names and members, and a member is
a text with its row in the pools (−1 for generated text). Neighbourhoods in the encoder's space give
endlessly many pseudo-classes; labelled sources and feelings give real ones.
"""

from __future__ import annotations

import dataclasses
import random

import numpy as np

from pretraining import teacher
from pretraining.episodes.pools import Pools
from pretraining.texts import lexicon

Member = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Class:
    """A class: the names it may go by (best first; empty when it has none) and its members."""

    names: list[str]
    members: list[Member]


def words(pools: Pools, draw: random.Random, n: int) -> list[Class]:
    """Groups of single words of like meaning: the shortest episodes there are."""
    out: list[Class] = []
    taken: list[int] = []
    while len(out) < n:
        a = draw.randrange(len(pools.words))
        if any(float(pools.word_vectors[a] @ pools.word_vectors[b]) > 0.35 for b in taken):
            continue
        taken.append(a)
        near = [int(i) for i in pools.word_near[a][1 : draw.choice([9, 14, 20])]]
        out.append(Class([pools.words[a]], [(pools.words[i], -1) for i in near]))
    return out


def _anchors(pools: Pools, draw: random.Random, n: int, hard: bool) -> list[int]:
    """Rows far enough from each other; hard ones are all from one region."""
    total = len(pools.texts)
    first = draw.randrange(total)
    if draw.random() < 0.45:  # utterances are what people classify
        first = draw.choice(pools.by_source[draw.choice(["user", "clinc", "user", "snips"])])
    candidates = np.array([draw.randrange(total) for _ in range(3000)])
    if hard:
        sims = pools.vectors[candidates] @ pools.vectors[first]
        candidates = candidates[np.argsort(-sims)][: draw.choice([60, 150, 400])]
    taken = [first]
    limit = 0.62 if hard else 0.35
    for c in draw.sample([int(c) for c in candidates], len(candidates)):
        if len(taken) == n:
            break
        if float(np.max(pools.vectors[taken] @ pools.vectors[c])) < limit:
            taken.append(c)
    return taken


def neighbourhoods(pools: Pools, draw: random.Random, n: int, hard: bool) -> list[Class]:
    """The nearest texts of a few anchors, each text with the anchor it is nearest to."""
    anchors = _anchors(pools, draw, n, hard)
    size = draw.choice([8, 14, 24, 32])
    centre = np.stack([pools.vectors[pools.near[a][:8]].mean(0) for a in anchors])
    out = []
    for k, a in enumerate(anchors):
        ids = pools.near[a][:size]
        sims = pools.vectors[ids] @ centre.T
        ids = [int(i) for i, s in zip(ids, sims, strict=True) if int(s.argmax()) == k]
        names = teacher.typical_words([pools.bags[i] for i in ids], pools.rarity, 4)
        out.append(Class(names, [(pools.texts[i], i) for i in ids]))
    return [c for c in out if len(c.members) >= 2]


def read_names(pools: Pools, draw: random.Random, n: int) -> list[Class]:
    """Classes named by the words the encoder puts nearest to them: reading a label."""
    hard = draw.random() < 0.3
    anchors = _anchors(pools, draw, n, hard)
    centre = np.stack(
        [pools.vectors[pools.near[a][: draw.choice([1, 4, 8])]].mean(0) for a in anchors]
    )
    sims = centre @ pools.word_vectors.T
    contrast = sims - 0.7 * (sims.sum(0, keepdims=True) - sims) / max(1, len(anchors) - 1)
    out, used = [], set()
    for k, a in enumerate(anchors):
        ids = [int(i) for i in pools.near[a][: draw.choice([4, 12])]]
        inside = {w for i in ids[:1] for w in pools.bags[i]}
        best = [pools.words[int(j)] for j in np.argsort(-contrast[k])[:12]]
        best = [w for w in best if w not in used and (w not in inside or draw.random() < 0.4)][:5]
        if len(best) < 2:
            continue
        names = draw.sample(best, min(len(best), draw.choice([1, 1, 2])))
        used.update(names)
        out.append(Class(["_".join(names)], [(pools.texts[i], i) for i in ids]))
    return out


def clusters(pools: Pools, draw: random.Random, n: int) -> list[Class]:
    """k-means classes named by their typical words."""
    level = draw.choice([250, 1200])
    picked = draw.sample([c for c in pools.clusters if c["k"] == level], n)
    return [Class(c["names"], [(pools.texts[i], i) for i in c["texts"]]) for c in picked]


def intents(pools: Pools, draw: random.Random, n: int) -> list[Class]:
    """Real intents with their real names, half the time all of one domain."""
    if draw.random() < 0.55:
        domain = draw.choice(sorted(pools.domains))
        names = sorted(pools.domains[domain])
    else:
        names = sorted(pools.intents)
    picked = draw.sample(names, min(n, len(names)))
    return [Class([p], [(pools.texts[i], i) for i in pools.intents[p]]) for p in picked]


def domains(pools: Pools, draw: random.Random, n: int) -> list[Class]:
    """Whole domains of intents, and kinds of text, under descriptive names."""
    names = {
        "novel": "fiction",
        "user": "request",
        "cnn": "news",
        "imdb": "film review",
        "app": "app review",
        "sciq": "science",
        "samsum": "chat summary",
        "wiki": "encyclopedia",
        "common": "everyday scene",
        "glue": "question",
        "assistant": "reply",
        "gigaword": "headline",
        "yelp": "restaurant review",
        "amazon": "product review",
        "wiqa": "process",
    }
    picked = draw.sample(sorted(names), min(n, 5))
    return [
        Class([names[p]], [(pools.texts[i], i) for i in draw.sample(pools.by_source[p], 30)])
        for p in picked
    ]


FEELING_NAMES = [
    ("positive", "negative", "neutral"),
    ("positive", "negative", "neutral"),
    ("positive", "negative", "neutral"),
    ("Positive", "Negative", "Neutral"),
    ("good", "bad", "neither"),
    ("pos", "neg", "neu"),
    ("happy", "unhappy", "neutral"),
    ("great", "terrible", "okay"),
    ("praise", "criticism", "fact"),
    ("liked", "disliked", "mixed"),
    ("POSITIVE", "NEGATIVE", "NEUTRAL"),
    ("favourable", "unfavourable", "neutral"),
    ("good news", "bad news", "no news"),
    ("satisfied", "dissatisfied", "indifferent"),
]


def feelings(pools: Pools, draw: random.Random, n: int) -> list[Class]:
    """Positive, negative and, with ``n`` above two, neutral texts."""
    names = draw.choice(FEELING_NAMES)
    found: dict[str, list[Member]] = {"positive": [], "negative": [], "neutral": []}
    share = draw.choice([0.0, 0.3, 0.6, 1.0])
    for key, rows in (
        ("positive", pools.happy),
        ("negative", pools.unhappy),
        ("neutral", pools.even),
    ):
        found[key] = [(pools.texts[i], i) for i in draw.sample(rows, int(16 * (1 - share)))]
    source = lexicon.headline if draw.random() < 0.4 else lexicon.feeling
    if source is lexicon.headline:  # news of money: a feeling that reviews do not teach
        found, share = {k: [] for k in found}, draw.choice([0.6, 1.0])
    for _ in range(int(60 * share)):
        text, key = source(draw)
        found[key].append((text, -1))
    keys = ["positive", "negative", "neutral"][: 3 if n > 2 else 2]
    return [Class([names[i]], found[k]) for i, k in enumerate(keys) if len(found[k]) >= 2]
