"""What a base's log-probabilities say of a text: four measures of familiarity.

They are those of the literature on membership: the mean log-probability (Yeom et al. 2018), its
ratio to what zlib needs for the text (Carlini et al. 2021), the mean over the least likely fifth of
the tokens (Min-K %, Shi et al. 2024, arXiv:2310.16789), and that mean after each token is
standardised by the distribution it was drawn from (Min-K %++, Zhang et al. 2025, arXiv:2404.02936).
More is more familiar in all four.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.models.backend import TokenLogprobs
from luthier.models.model import Model

MEASURES = ("loss", "zlib", "min-k", "min-k++")
SHARE = 0.2  # of the tokens: the least likely ones
SMALLEST_DEVIATION = 1e-3  # nats: where a base is certain, the standardised value means nothing


@dataclass(frozen=True, slots=True)
class TextScores:
    """Sums and measures of one text. A measure that a backend does not allow for is None."""

    logprob: float
    tokens: int
    characters_in_bytes: int
    measures: tuple[float | None, ...]

    @property
    def bits_a_byte(self) -> float:
        """What the base needs for a byte of the text."""
        return -self.logprob / math.log(2) / max(1, self.characters_in_bytes)


def score_texts(model: Model, texts: Sequence[str]) -> list[TextScores]:
    """The scores of each text. CapabilityError where the backend gives no log-probabilities."""
    found = model.backend.text_logprobs(texts, model.adaptation)
    return [text_scores(text, one) for text, one in zip(texts, found, strict=True)]


def text_scores(text: str, found: TokenLogprobs) -> TextScores:
    """The scores of a text whose tokens are known."""
    known = [(n, value) for n, value in enumerate(found.logprobs) if value is not None]
    values = np.array([value for _, value in known], dtype=np.float64)
    size = len(text.encode("utf-8", "replace"))
    if not len(values):
        return TextScores(0.0, 0, size, (None,) * len(MEASURES))
    standardised = None
    if found.spreads:
        spreads = np.array([found.spreads[n] or (0.0, 1.0) for n, _ in known])
        standardised = (values - spreads[:, 0]) / np.maximum(spreads[:, 1], SMALLEST_DEVIATION)
    return TextScores(
        float(values.sum()),
        len(values),
        size,
        (
            float(values.mean()),
            float(values.sum()) / (8.0 * compressed_bytes(text)),
            _lowest(values),
            None if standardised is None else _lowest(standardised),
        ),
    )


def compressed_bytes(text: str) -> int:
    """What zlib makes of a text."""
    return len(zlib.compress(text.encode("utf-8", "replace"), 9))


def _lowest(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    count = max(1, round(SHARE * len(values)))
    return float(np.sort(values)[:count].mean())
