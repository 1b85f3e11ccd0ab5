"""The adaptation: one slot for each place where a language model can be adapted.

In memory tensors are CPU tensors; on disk they are safetensors (see `models.storage`).
Nothing here imports torch at run time, so that prompts can be handled without it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from luthier.content import ToolSignature
from luthier.models.prompt import Prompt
from luthier.tools.limits import ToolLimits

if TYPE_CHECKING:
    import torch

    from luthier.retrieval import SearchSettings

Placement = Literal["before", "after", "word"]
PassageForm = Literal["plain", "numbered", "cited"]
Pooling = Literal["last", "mean"]
Reading = Literal["joined", "sequence", "token"]


@dataclass(frozen=True, slots=True, eq=False)
class VirtualTokens:
    """A soft prompt: `tensor` is (V, P, H) for V votes, prompt length P, width H; float32.

    `placement` "before" puts the virtual tokens at the start of the prompt (Lester et al. 2021,
    arXiv:2104.08691, section 2), "after" between the prompt and the answer, where the keys and
    values of the prompt do not depend on them. With V > 1 the V prompts vote (section 6 there).

    `head`: ids that they stand for besides, those that a chat template puts before the first turn;
    the texts behind them begin without these.

    Of a model that draws, the placement is "word": the tokens stand for `word` wherever a prompt
    has it (textual inversion, `images.learned_word`).
    """

    tensor: torch.Tensor
    placement: Placement = "before"
    head: tuple[int, ...] = ()
    word: str = ""


def word_token(word: str) -> str:
    """The name of a learnt word's first token, as diffusers writes it: `<word>`."""
    return "<" + "-".join(word.split()) + ">"


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """PEFT weights: `config` as in adapter_config.json, `tensors` as in adapter_model.safetensors.

    `starts_with_bos`: this is a prefix whose first keys and values are those of BOS, so that the
    texts behind it begin without one; `head` holds further ids at its beginning, as in
    `VirtualTokens`.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    starts_with_bos: bool = False
    head: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A fork of the base: a whole state dict."""

    tensors: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear classifier on the base's states, which answers in place of the output layer.

    `weight` is (L, H) and `bias` (L,) for L `labels` and width H; float32. `layer` says whose
    states are read (0: the embeddings), `pooling` whether of the last token or the mean over all.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    labels: tuple[str, ...]
    layer: int
    pooling: Pooling = "last"


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is read out of the model.

    `labels` constrains the answer to a list. `label_bias` is subtracted from each label's
    log-probability (contextual calibration, arXiv:2102.09690, section 5: the log-probability of the
    label on a content-free input). `length_normalised` divides by the label's tokens.

    `regex` and `json_schema` (a JSON text or a mapping; kept as text) constrain free text: a whole
    match, white space at the ends aside, or a JSON value that holds to the schema. What
    `max_new_tokens` cuts short is reported as not parsed.

    `guidance_scale` γ leads away from the prompt's `negative` part: log P̂ = log P(w|c̄) +
    γ (log P(w|c) − log P(w|c̄)) (arXiv:2306.17806); 1 is off. None: the base's own, which is 1 for
    text. Pictures are drawn in `steps` (None: the base's own), and their negative prompt acts from
    `negative_from` to `negative_until`, shares of the schedule (`images.drawing`).

    `votes` answers are sampled and the commonest one counts (self-consistency, arXiv:2203.11171,
    section 2). With `thinking_tokens` a thought of at most that many tokens is generated before
    each answer (`models.thinking`); then votes are over thoughts. `own_thoughts`: as the base was
    trained to think, in the mode of its chat template, and not when asked to in words.

    Raises TechniqueError for settings that cannot be followed.
    """

    labels: tuple[str, ...] = ()
    label_bias: tuple[tuple[str, float], ...] = ()
    length_normalised: bool = False
    max_new_tokens: int = 64
    temperature: float = 0.0
    stop: tuple[str, ...] = ("\n",)
    regex: str | None = None
    json_schema: str | Mapping[str, Any] | None = None
    guidance_scale: float | None = None
    votes: int = 1
    thinking_tokens: int = 0
    own_thoughts: bool = False
    steps: int | None = None
    negative_from: float = 0.0
    negative_until: float = 1.0

    def __post_init__(self) -> None:
        from luthier.models.grammar import check_decoding, schema_text

        if self.json_schema is not None:
            object.__setattr__(self, "json_schema", schema_text(self.json_schema))
        check_decoding(self)

    @property
    def guidance(self) -> float:
        """γ for text."""
        return 1.0 if self.guidance_scale is None else self.guidance_scale


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """Documents to search for an answer, and how the passages are read.

    `index` is the place of an index, `fingerprint` that of its content at the fit; an index with
    another one is refused. `form`: passages as they are ("plain"), after their number
    ("numbered"), or numbered with the request to cite them and to abstain ("cited").

    `reading`: all passages in one prompt ("joined"); or each passage z in a prompt of its own, the
    answers' probabilities weighed by p(z | x), a softmax over the scores of the search divided by
    `temperature` (None: by the search mode): over whole answers ("sequence") or at every token
    ("token"), arXiv:2005.11401, section 2.1.

    `query_map` (H, H), float32: the embedding q of a question becomes q M, by which the best
    candidates of the search are ordered anew. `shown_passages` is how many passages a demonstration
    without a passage of its own is shown with. `least_relevance` is the probability, that the
    passage behind an answer answers the question, from which the answer is given; 0 gives all that
    passages bear out, also where question and documents are in two languages.
    """

    index: str
    fingerprint: str
    search: SearchSettings
    form: PassageForm = "plain"
    reading: Reading = "joined"
    temperature: float | None = None
    shown_passages: int = 0
    query_map: torch.Tensor | None = None
    least_relevance: float = 0.5

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything that the hits and their reading depend on; not where the index lies."""
        digest = None
        if self.query_map is not None:
            digest = hashlib.sha256(self.query_map.numpy().tobytes()).hexdigest()
        how = (self.form, self.reading, self.temperature, self.shown_passages)
        return (self.fingerprint, self.search, *how, digest)


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What the model may call.

    `signatures` are the tools as the model is shown them; `addresses` say where they are opened
    from ("sql:sqlite:///shop.db"), without a secret. Without addresses the caller runs the calls.
    `allow` names tools that may change things without a question, `steps` is the most generations
    of one answer. `listed`: the prompt lists the tools; a model that was trained to call them needs
    no list. `limits` bound one answer beside the steps; None: the usual ones.
    """

    signatures: tuple[ToolSignature, ...] = ()
    addresses: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    steps: int = 8
    listed: bool = True
    limits: ToolLimits | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Adaptation:
    """What adapts a frozen base, one slot for each place. Every slot may be empty."""

    prompt: Prompt = field(default_factory=Prompt)
    soft_prompt: VirtualTokens | None = None
    adapter: Adapter | None = None
    weights: Weights | None = None
    decoding: Decoding = field(default_factory=Decoding)
    knowledge: Knowledge | None = None
    head: Head | None = None
    tools: ToolUse | None = None

    @property
    def filled(self) -> tuple[str, ...]:
        """The names of the slots in use."""
        slots = {
            "prompt": self.prompt != Prompt(),
            "soft_prompt": self.soft_prompt is not None,
            "adapter": self.adapter is not None,
            "weights": self.weights is not None,
            "decoding": self.decoding != Decoding(),
            "knowledge": self.knowledge is not None,
            "head": self.head is not None,
            "tools": self.tools is not None,
        }
        return tuple(name for name, used in slots.items() if used)
