"""What a model that draws is asked: the words of the input with the terms of the prompt behind
them, what must not be seen apart from them, and a seed that no wording changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from luthier.content import single_text
from luthier.errors import CapabilityError
from luthier.models.backend import GenerateRequest
from luthier.models.prompt import Prompt, Rendered
from luthier.records import Capability, Example

if TYPE_CHECKING:
    from luthier.models.model import Model

SEEDS = 2**32
SLOTS = ("prompt", "soft_prompt", "adapter", "weights", "decoding")  # that a drawing can have


def draws(model: Model) -> bool:
    """Whether this model answers with pictures."""
    return Capability.DRAWING in model.capabilities


def render_drawing(prompt: Prompt, text: str) -> Rendered:
    """The prompt of one picture: the words of the input, then the positive terms, which are the
    prompt's instruction, context and objective, all with commas between them."""
    parts = (text, prompt.instruction, prompt.context, prompt.objective)
    words = [part.strip().rstrip(",") for part in parts if part.strip()]
    return Rendered(", ".join(words), inputs=(text.strip(),) if text.strip() else ())


def render_drawings(model: Model, examples: Sequence[Example]) -> list[Rendered]:
    """The prompts that these examples lead to.

    CapabilityError for what no picture can be drawn from: several turns, a picture, and slots of an
    adaptation that speak of text.
    """
    beyond = [slot for slot in model.adaptation.filled if slot not in SLOTS]
    shown = model.adaptation.prompt.demonstrations
    if beyond or shown:
        what = "demonstrations" if shown else ", ".join(beyond)
        raise CapabilityError(
            f"{model.backend.name} draws pictures, and cannot use {what}",
            choices=SLOTS,
            next_step="Give a model that draws a prompt, a negative prompt and weights only.",
        )
    rendered = []
    for example in examples:
        text = single_text(example.input)
        if text is None:
            raise CapabilityError(
                f"{model.backend.name} draws from one text, and the input is something else "
                "(several turns, or a picture)",
                next_step="Say in one text what shall be seen.",
            )
        rendered.append(render_drawing(model.adaptation.prompt, text))
    return rendered


def drawing_requests(
    model: Model, examples: Sequence[Example], *, seed: int
) -> list[GenerateRequest]:
    """A request for each example; its noise is that of the example and the seed.

    So all prompts, adapters and weights draw one example from the same noise, and the pictures
    differ by what was changed.
    """
    decoding = model.adaptation.decoding
    if decoding.votes > 1 or decoding.thinking_tokens:
        what = "votes" if decoding.votes > 1 else "thinking_tokens"
        raise CapabilityError(
            f"{what} is for text, and {model.backend.name} draws pictures",
            next_step=f"Leave {what} out.",
        )
    words = model.adaptation.prompt.negative.strip()
    negative = Rendered(words) if words else None
    return [
        GenerateRequest(prompt, drawing_seed(example, seed=seed), negative=negative)
        for prompt, example in zip(render_drawings(model, examples), examples, strict=True)
    ]


def drawing_seed(example: Example, *, seed: int) -> int:
    """The seed of an example's noise; `seed` itself for a question that is no example."""
    if not example.id:
        return seed % SEEDS
    return int(hashlib.sha256(f"{seed}:{example.id}".encode()).hexdigest()[:8], 16)
