"""Running text: bits a byte under the model, gzip, and counted characters."""

from __future__ import annotations

import collections
import gzip
import math
from typing import Any

import torch
from torch.nn import functional as F

ORDER = 5
TAUGHT = 3_000_000  # characters the counts are taken from


@torch.inference_mode()
def bits_per_byte(scorer: Any, texts: list[str]) -> float:
    """Mean loss of the model, in bits a byte."""
    bits, size = 0.0, 0
    for text in texts:
        ids = torch.tensor([scorer.tokenizer(text)["input_ids"][:1024]])
        logits = scorer.model(ids).logits[0, :-1]
        bits += float(F.cross_entropy(logits, ids[0, 1:], reduction="sum")) / math.log(2)
        size += len(scorer.tokenizer.decode(ids[0, 1:]).encode())
    return bits / size


def gzip_bits(texts: list[str]) -> float:
    """The same texts, end to end, through gzip: bits a byte."""
    raw = "".join(texts).encode()
    return 8 * len(gzip.compress(raw, 9)) / len(raw)


def ngram_bits(taught: list[str], texts: list[str]) -> float:
    """Byte 5-grams counted on training text, orders mixed by Witten and Bell (1991): bits a byte.

    p_n(b|h) = (c(h b) + u(h) p_{n-1}(b|h')) / (c(h) + u(h)), u(h) the number of bytes seen after h.
    """
    raw = "\n\n".join(taught).encode()[:TAUGHT]
    counts: list[dict[bytes, collections.Counter[int]]] = []
    for n in range(ORDER):
        table: dict[bytes, collections.Counter[int]] = collections.defaultdict(collections.Counter)
        for i in range(n, len(raw)):
            table[raw[i - n : i]][raw[i]] += 1
        counts.append(table)
    totals = [{h: sum(c.values()) for h, c in table.items()} for table in counts]
    bits, size = 0.0, 0
    for text in texts:
        data = text.encode()
        for i, byte in enumerate(data):
            p = 1 / 256
            for n in range(min(i + 1, ORDER)):
                seen = counts[n].get(data[i - n : i])
                if seen is None:
                    break
                kinds = len(seen)
                p = (seen[byte] + kinds * p) / (totals[n][data[i - n : i]] + kinds)
            bits -= math.log2(p)
        size += len(data)
    return bits / size
