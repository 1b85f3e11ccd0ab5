"""What a backend gives, and a technique needs."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """What a backend gives and a technique needs."""

    TEXT = "text"
    LOGPROBS = "log-probabilities"
    EMBEDDINGS = "embeddings"
    GRADIENTS = "gradients"
    MIXTURES = "mixtures of prompts"
    IMAGES = "pictures"
    DRAWING = "drawn pictures"
    DENOISING = "gradients through a denoiser"
