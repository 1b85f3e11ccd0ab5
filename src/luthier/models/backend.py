"""The contract of a backend: what runs a base model under an adaptation.

`luthier.testing.check_backend` holds every implementation to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.content import ToolCall, Usage
from luthier.errors import CapabilityError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.prompt import Rendered
from luthier.records import Capability

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from luthier.models.answer_watch import AnswerWatch


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
    has_chat_template: bool = False  # it can render the turns of a conversation
    thinks: bool = False  # that template has a mode in which it thinks before it answers
    prefers_chat: bool = False  # a single question goes through the chat template too
    lists_tools: bool = False  # its chat template, or its server, shows tools itself
    device: str | None = None
    dtype: str | None = None
    leads_away: bool = True  # of what draws: a negative prompt acts
    remote: bool = False  # a server runs it: its memory and its speed are not this machine's


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Ask for the log-probability of each continuation after one prompt.

    They are alternatives: of one that begins another by its tokens, only what does not go on as the
    other counts (`models.alternatives`).
    """

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

    `seed` matters only where the decoding samples, and for pictures, whose noise depends on nothing
    else. `negative` is the prompt to be led away from,
    where the decoding has a guidance scale. `decoding` stands in for the adaptation's.
    """

    prompt: Rendered
    seed: int = 0
    samples: int = 1
    negative: Rendered | None = None
    decoding: Decoding | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """Generated text, without the stop string; of a drawn picture the path of its file.

    `cut`: the text did not end by itself, or is not a whole answer under its constraint. `others`
    are the further samples; the usage of all is in the first. `tool_calls` are the tools that the
    model wants to call before it answers. `lack` says why there is no answer: the text ended inside
    a thought, or a server's filter withheld it. `first_tokens` are the likeliest tokens that a text
    of labels could have begun with, and their natural log-probabilities, where a server tells them.
    """

    text: str
    usage: Usage
    cut: bool = False
    others: tuple[Generated, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    lack: Literal["", "thinking", "filtered"] = ""
    first_tokens: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """A text as a backend's tokens, with the natural log-probability of each after those before it.

    The first token has None where nothing stands before it. `ids` are the tokens' numbers, and
    `likeliest` what would have been likeliest in the place of each, with its log-probability.
    `spreads` are, in the place of each, the mean and the standard deviation of the log-probability
    of a token drawn there: how surprising a token was to be. All three are empty where a backend
    does not tell them.
    """

    tokens: tuple[str, ...]
    logprobs: tuple[float | None, ...]
    ids: tuple[int, ...] = ()
    likeliest: tuple[tuple[int, str, float] | None, ...] = ()
    spreads: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class PooledStates:
    """The states of K layers while a base read a prompt, float32: of its last token (K, H), and the
    mean over its tokens (K, H). `tokens` is how many it read."""

    last: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    tokens: int


class Backend:
    """Runs one base model and never changes it: the base is equal to the bit after any call.

    Every backend sets the four attributes and implements `count_tokens`, `generate` and, with the
    capability for it, `score`. All else has a default. `luthier.testing.check_backend` holds every
    implementation to this contract.

    **Attributes**

    - `name`: how the user named the base: "nano", a hub id, a folder, an address.
    - `fingerprint`: a hash that changes when the base does.
    - `capabilities`: what the backend can do; no caller finds it out in another way.
    - `facts`: sizes and limits.
    - `watch`: ends the work early where generated answers are of no use; None: nobody looks.
    - `call_format`: how the base writes calls of tools (`models.tool_formats`); "api": the backend
      returns them apart from the text.
    - `weights_file`: what the library of the base calls the file of a fork's weights.
    """

    name: str
    fingerprint: str
    capabilities: frozenset[Capability]
    facts: ModelFacts
    watch: AnswerWatch | None = None
    call_format: str = "plain"
    weights_file: str = "model.safetensors"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how requests were answered, a sentence each."""
        return ()

    @property
    def precision(self) -> str | None:
        """The number format of matrix products, for a reader; None where it is not known."""
        return None

    def count_tokens(self, text: str) -> int:
        """The number of tokens of a text, special ones left out."""
        raise NotImplementedError

    def special_texts(self) -> tuple[str, ...]:
        """How special tokens are written, longest first. Text of others must not contain them."""
        return ()

    def answer_tokens(self, decoding: Decoding) -> int:
        """The most tokens that one answer takes: of a text those that it may have, of a picture how
        often the denoiser goes over it."""
        return decoding.max_new_tokens

    def tokens_per_second(self) -> float | None:
        """The measured forward speed; None where it cannot be measured (a server's is not ours)."""
        return None

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        """Log-probabilities of continuations. CapabilityError without `Capability.LOGPROBS`."""
        raise self.lacks(Capability.LOGPROBS)

    def generate(
        self, requests: Sequence[GenerateRequest], adaptation: Adaptation
    ) -> list[Generated]:
        """Text, decoded as `adaptation.decoding` says."""
        raise NotImplementedError

    def stream(self, request: GenerateRequest, adaptation: Adaptation) -> Iterator[str]:
        """The text of one request in pieces whose join is what `generate` returns.

        By default it is one piece.
        """
        yield self.generate([request], adaptation)[0].text

    def text_logprobs(self, texts: Sequence[str], adaptation: Adaptation) -> list[TokenLogprobs]:
        """The log-probability of every token of each text, without a prompt.

        CapabilityError without `Capability.LOGPROBS`.
        """
        raise self.lacks(Capability.LOGPROBS)

    def pooled_states(
        self, prompts: Sequence[Rendered], adaptation: Adaptation, *, layers: Sequence[int]
    ) -> list[PooledStates]:
        """The states of some layers, from 0 (the embeddings) to `facts.layers`, for each prompt.

        CapabilityError without `Capability.EMBEDDINGS`.
        """
        raise self.lacks(Capability.EMBEDDINGS)

    def score_mixture(
        self, prompts: Sequence[Rendered], weights: Sequence[float],
        continuations: Sequence[str], adaptation: Adaptation,
    ) -> ScoreResult:  # fmt: skip
        """Scores under the mixture of the prompts' next-token distributions at every token.

        `weights` sum to 1. CapabilityError without `Capability.MIXTURES`.
        """
        raise self.lacks(Capability.MIXTURES)

    def generate_mixture(
        self, prompts: Sequence[Rendered], weights: Sequence[float], adaptation: Adaptation
    ) -> Generated:
        """Greedy text under the same mixture. CapabilityError without `Capability.MIXTURES`."""
        raise self.lacks(Capability.MIXTURES)

    def continuous(self) -> AbstractContextManager[Any] | None:
        """The engine that answers requests as they come, for many adaptations in shared batches
        (`luthier.engine.ContinuousEngine`); None where requests are answered call by call.

        While the context lasts, other uses of the backend wait.
        """
        return None

    def token_text(self, ids: Sequence[int]) -> str:
        """The text of token numbers. CapabilityError where the backend has no tokenizer."""
        raise CapabilityError(
            f"{self.name} does not tell its tokens", next_step="Give the text instead."
        )

    def session(self, adaptation: Adaptation) -> AbstractContextManager[Any]:
        """The base with `adaptation` applied, its parameters in reach (`engine.session.Session`).

        CapabilityError without `Capability.GRADIENTS`.
        """
        raise self.lacks(Capability.GRADIENTS)

    def export_base(self, folder: Path) -> None:
        """Write the base's configuration and tokenizer, so that a fork opens as its own model.

        CapabilityError without `Capability.GRADIENTS`: then there is no fork either.
        """
        raise self.lacks(Capability.GRADIENTS)

    def lacks(self, capability: Capability) -> CapabilityError:
        """The error that says that this backend does not have a capability."""
        return CapabilityError(
            f"{self.name} does not give {capability}",
            next_step="Use a local model (a folder or a hub id), or a server that gives it.",
        )
