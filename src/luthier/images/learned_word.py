"""A word with learnt embeddings: the soft prompt of a model that draws (textual inversion).

Gal et al. 2022, arXiv:2208.01618, section 4: the word's P vectors (P, H) stand in the embeddings of
the text encoder wherever the word stands in a prompt; nothing else of the model changes. On disk
they are what `pipeline.load_textual_inversion` of diffusers reads.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from luthier.errors import CapabilityError
from luthier.models.adaptation import word_token

if TYPE_CHECKING:
    import torch


def check_one_encoder(pipeline: Any) -> None:
    """CapabilityError where a pipeline reads a prompt with several text encoders, or none."""
    encoders = [name for name in pipeline.components if name.startswith("text_encoder")]
    if encoders != ["text_encoder"]:
        raise CapabilityError(
            f"{type(pipeline).__name__} reads a prompt with {len(encoders)} text encoders, and a "
            "word is learnt for one",
            next_step="Use LoRA, or a Stable Diffusion pipeline.",
        )


@contextmanager
def word_in_place(pipeline: Any, word: str, vectors: torch.Tensor) -> Iterator[None]:
    """A pipeline that reads `word` as `vectors` (P, H), to which gradients flow; afterwards it is
    as it was."""
    check_one_encoder(pipeline)
    encoder, tokenizer = pipeline.text_encoder, pipeline.tokenizer
    table = encoder.get_input_embeddings()
    encoder.set_input_embeddings(_widened(table, vectors))
    object.__setattr__(pipeline, "tokenizer", WordTokenizer(tokenizer, word, len(vectors)))
    try:
        yield
    finally:
        encoder.set_input_embeddings(table)
        object.__setattr__(pipeline, "tokenizer", tokenizer)


class WordTokenizer:
    """A copy of a tokenizer that reads one word, and its plural, as tokens of its own, whose ids
    follow the vocabulary's. All else it does as the tokenizer does."""

    def __init__(self, tokenizer: Any, word: str, count: int) -> None:
        first = word_token(word)
        names = [first, *(f"{first}_{i}" for i in range(1, count))]
        self._inner = copy.deepcopy(tokenizer)
        self._inner.add_tokens(names)
        self._found = re.compile(rf"\b{re.escape(word)}(?:e?s)?\b", re.IGNORECASE)
        self._names = " ".join(names)

    def __call__(self, text: str | Sequence[str], *arguments: Any, **settings: Any) -> Any:
        texts = self._read(text) if isinstance(text, str) else [self._read(one) for one in text]
        return self._inner(texts, *arguments, **settings)

    def _read(self, text: str) -> str:
        return self._found.sub(self._names, text)

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # a copy asks for it before it has anything
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __len__(self) -> int:
        return len(self._inner)


def _widened(table: Any, vectors: torch.Tensor) -> Any:
    """An embedding layer with rows more."""
    import torch

    class WidenedEmbedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = table
            self.count = int(table.weight.shape[0])

        @property
        def weight(self) -> Any:
            return self.table.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            real: torch.Tensor = self.table(ids.clamp(max=self.count - 1))
            rows = vectors[(ids - self.count).clamp(min=0)].to(real.dtype)
            return torch.where((ids >= self.count).unsqueeze(-1), rows, real)

    return WidenedEmbedding()
