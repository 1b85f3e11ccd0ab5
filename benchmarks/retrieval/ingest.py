"""Embedding passages: ours against sentence-transformers, taking turns.

`python -m benchmarks.retrieval.ingest TEXT.txt --out FILE`: passages are cut from the text at
random places, of a seventh of the longest length to all of it. Seconds are of the processor, one
thread.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from luthier.retrieval.embed.minilm import LONGEST, MiniLM, folder
from luthier.retrieval.index_store import Vectors


def measured(texts: list[str], rounds: int) -> dict[str, object]:
    """Passages a second for each embedder, and the least cosine with the vectors of
    sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    peer = SentenceTransformer(str(folder()), device="cpu")
    peer.max_seq_length = LONGEST

    def at_once() -> Vectors:
        return np.asarray(peer.encode(texts, normalize_embeddings=True, show_progress_bar=False))

    def one_by_one() -> Vectors:
        return np.stack([peer.encode(t, normalize_embeddings=True) for t in texts])

    embedders: dict[str, Callable[[], Vectors]] = {
        "sentence-transformers, encode(list)": at_once,
        "sentence-transformers, encode(one) in a loop": one_by_one,
        "luthier": lambda: MiniLM().embed(texts),
    }
    right = at_once()
    MiniLM().embed(texts[:2])
    seconds: dict[str, list[float]] = {name: [] for name in embedders}
    cosines: dict[str, float] = {}
    for _ in range(rounds):
        for name, embed in embedders.items():
            began = time.process_time()
            made = embed()
            seconds[name].append(time.process_time() - began)
            cosines[name] = float((made * right).sum(1).min())
    return {
        name: {"passages_per_cpu_second": len(texts) / median(s), "least_cosine": cosines[name]}
        for name, s in seconds.items()
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--passages", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longest", type=int, default=1000, help="characters of a passage")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    text = asked.text.read_text("utf-8")
    draw = random.Random(0)
    starts = [draw.randrange(len(text) - asked.longest) for _ in range(asked.passages)]
    texts = [
        text[at : at + draw.randint(asked.longest // 7, asked.longest)].strip() for at in starts
    ]
    figures = {
        "passages": asked.passages,
        "longest": asked.longest,
        **measured(texts, asked.rounds),
    }
    asked.out.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
