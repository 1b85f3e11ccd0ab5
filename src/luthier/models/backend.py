"""The contract of a backend: what runs a base model under an adaptation.

`tests/contracts.py::check_backend` holds every implementation to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.prompt import Rendered
from luthier.records import Capability, Usage


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a base. None: unknown (an endpoint tells little)."""

    parameters: int | None = None
    body_parameters: int | None = None  # without the token embeddings: what FLOP formulas count
    hidden_size: int | None = None
    layers: int | None = None
    vocabulary: int | None = None
    context_length: int | None = None
    architecture: str | None = None
    encoder_decoder: bool = False
    prefers_chat: bool = False
    device: str | None = None
    dtype: str | None = None


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Ask for the log-probability of each continuation after one prompt."""

    prompt: Rendered
    continuations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """One entry for each continuation: summed natural log-probability, token count, and whether
    greedy decoding would have produced exactly these tokens."""

    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]
    greedy: tuple[bool, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Ask for text: `samples` of it, of which the k-th is the same for one prompt and seed.

    `seed` matters only where the decoding samples. `negative` is the prompt to be led away from,
    where the decoding has a guidance scale. `decoding` stands in for the adaptation's.
    """

    prompt: Rendered
    seed: int = 0
    samples: int = 1
    negative: Rendered | None = None
    decoding: Decoding | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """Generated text, without the stop string.

    `cut`: it did not end by itself, or is no whole answer under its constraint. `others` are the
    further samples; the usage of all is in the first.
    """

    text: str
    usage: Usage
    cut: bool = False
    others: tuple[Generated, ...] = ()


class Backend(Protocol):
    """Runs one base model. Never changes it: the base is the same to the bit after any call."""

    @property
    def name(self) -> str:
        """How the user named the base: "nano", a hub id, a folder, a URL."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash that changes when the base does."""
        ...

    @property
    def gives(self) -> frozenset[Capability]:
        """What it can do."""
        ...

    @property
    def facts(self) -> ModelFacts:
        """Sizes and limits."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens a text is."""
        ...

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """Log-probabilities; CapabilityError where the backend does not give them."""
        ...

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """Text, decoded as `adaptation.decoding` says."""
        ...
