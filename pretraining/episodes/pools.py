"""The pools on disk, in memory: short texts, their vectors and neighbours, words, clusters."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import numpy as np

from pretraining import teacher
from pretraining.texts import corpus


class Pools:
    """Everything the episodes draw from; read once, never changed."""

    def __init__(self, out: Path) -> None:
        rows = corpus.read(out / "texts.jsonl")
        self.texts = [r["text"] for r in rows]
        self.sources = [r["source"] for r in rows]
        self.vectors = np.load(out / "embeddings.npy").astype(np.float32)
        self.near = np.load(out / "neighbours.npy")
        self.feelings = np.load(out / "feelings.npy")
        self.words: list[str] = json.loads((out / "words.json").read_text())
        self.word_vectors = np.load(out / "word_embeddings.npy").astype(np.float32)
        self.word_near = teacher.neighbours(self.word_vectors, 24)
        self.clusters: list[dict] = json.loads((out / "clusters.json").read_text())
        self.bags = [teacher.content_words(t) for t in self.texts]
        self.rarity = teacher.rarities(self.bags)

        self.intents: dict[str, list[int]] = collections.defaultdict(list)
        self.domains: dict[str, set[str]] = collections.defaultdict(set)
        for i, r in enumerate(rows):
            if r["label"]:
                self.intents[r["label"]].append(i)
                self.domains[r["domain"] or r["source"]].add(r["label"])
        self.by_source: dict[str, list[int]] = collections.defaultdict(list)
        for i, s in enumerate(self.sources):
            self.by_source[s].append(i)
        polite = [i for i in range(len(rows)) if self.sources[i] not in ("clinc", "snips")]
        self.happy = [i for i in polite if self.feelings[i] > 0.93]
        self.unhappy = [i for i in polite if self.feelings[i] < 0.07]
        self.even = [i for i in polite if 0.4 < self.feelings[i] < 0.6]
        self.t0 = corpus.read(out / "t0.jsonl")
        self.slots = corpus.read(out / "slots.jsonl")
        self.documents = corpus.read(out / "documents.jsonl")
