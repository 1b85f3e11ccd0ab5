"""A backend that remembers texts: words that followed each other in them are likely."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise

from luthier.content import Usage
from luthier.models.adaptation import Adaptation
from luthier.models.backend import (
    Backend,
    Generated,
    GenerateRequest,
    ModelFacts,
    TokenLogprobs,
)
from luthier.models.model import Model
from luthier.records import Capability

KNOWN, UNKNOWN = -0.5, -6.0
CONTEXT = 2  # words that a word is remembered after


class Remembering(Backend):
    """A token is a word. A word that followed the one before in a remembered text is likely; else
    it has a log-probability of its own."""

    def __init__(self, texts: Sequence[str], *, spreads: bool = True, logprobs: bool = True):
        self.name = "remembering"
        self.fingerprint = hashlib.sha256("\n".join(texts).encode()).hexdigest()
        self.capabilities = frozenset(
            {Capability.TEXT} | ({Capability.LOGPROBS} if logprobs else set())
        )
        self.facts = ModelFacts(context_length=512)
        self.texts, self.spreads = list(texts), spreads
        self.pairs = {
            pair for text in texts for words in [text.split()] for pair in pairwise(words)
        }

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def text_logprobs(self, texts: Sequence[str], adaptation: Adaptation) -> list[TokenLogprobs]:
        if Capability.LOGPROBS not in self.capabilities:
            raise self.lacks(Capability.LOGPROBS)
        return [self._logprobs(text) for text in texts]

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        return [Generated(self._continued(r.prompt.text), Usage(1, 1, 2, 1)) for r in requests]

    def _logprobs(self, text: str) -> TokenLogprobs:
        tokens = re.findall(r"\s*\S+", text)
        words = [token.strip() for token in tokens]
        values: list[float | None] = [None]
        values += [
            KNOWN if pair in self.pairs else UNKNOWN - noise(pair[1]) for pair in pairwise(words)
        ]
        spreads = ((-5.0, 2.0),) * len(tokens) if self.spreads else ()
        return TokenLogprobs(tuple(tokens), tuple(values[: len(tokens)]), spreads=spreads)

    def _continued(self, prompt: str) -> str:
        last = " ".join(prompt.split()[-3:])
        for text in self.texts:
            flat = " ".join(text.split())
            if last in flat:
                return " " + flat.split(last, 1)[1].strip()
        return " nothing that stands anywhere"


def noise(word: str) -> float:
    """A number in [0, 1) that belongs to a word."""
    return hashlib.sha256(word.encode()).digest()[0] / 256


def remembering(texts: Sequence[str], **options: bool) -> Model:
    """The backend as a model."""
    return Model(Remembering(texts, **options))
