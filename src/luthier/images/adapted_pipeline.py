"""A pipeline with an adaptation's weights in place, for the length of a context.

The base's tensors are never written to: a fork of the denoiser stands in its place, an adapter is
injected beside its layers and removed again, a learnt word stands beside the text encoder's table.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from luthier.engine.adapters.injected import injected
from luthier.errors import ModelError
from luthier.images.learned_word import word_in_place
from luthier.models.adaptation import Adaptation, Weights

DENOISERS = ("unet", "transformer")
PICTURE_SLOTS = ("prompt", "soft_prompt", "adapter", "weights", "decoding")


@dataclass(frozen=True, eq=False)
class PictureSession:
    """A pipeline with an adaptation applied.

    - `denoiser`: its denoiser, that of a fork where there is one.
    - `peft`: the PeftModel around it where an adapter is in use, else None.
    """

    pipeline: Any
    denoiser: Any
    peft: Any = None

    @property
    def device(self) -> Any:
        """The device of the denoiser."""
        return self.denoiser.device

    @property
    def dtype(self) -> Any:
        """The type of the denoiser's weights."""
        return self.denoiser.dtype


def denoiser_name(pipeline: Any) -> str:
    """What the pipeline calls its denoiser."""
    return next(name for name in DENOISERS if pipeline.components.get(name) is not None)


@contextmanager
def applied(pipeline: Any, adaptation: Adaptation) -> Iterator[PictureSession]:
    """The pipeline with the soft prompt, the adapter and the weights of an adaptation.

    Weights without tensors are a fresh copy of the base's, to be trained; so is an adapter.
    ModelError for what does not fit this base.
    """
    with ExitStack() as stack:
        if adaptation.weights is not None:
            stack.enter_context(_forked(pipeline, adaptation.weights))
        denoiser = getattr(pipeline, denoiser_name(pipeline))
        peft = None
        if adaptation.adapter is not None:
            peft = stack.enter_context(injected(denoiser, adaptation.adapter))
        soft = adaptation.soft_prompt
        if soft is not None:
            width = pipeline.text_encoder.get_input_embeddings().weight
            if soft.tensor.shape[-1] != width.shape[-1]:
                raise ModelError(
                    f"the soft prompt is {soft.tensor.shape[-1]} wide, and the text encoder of "
                    f"this base {width.shape[-1]}",
                    next_step="Open it on the base that it was fitted on.",
                )
            vectors = soft.tensor[0].to(device=width.device, dtype=width.dtype)
            stack.enter_context(word_in_place(pipeline, soft.word, vectors))
        yield PictureSession(pipeline, denoiser, peft)


@contextmanager
def _forked(pipeline: Any, weights: Weights) -> Iterator[None]:
    name = denoiser_name(pipeline)
    base = getattr(pipeline, name)
    fork = copy.deepcopy(base)
    if weights.tensors:
        try:
            fork.load_state_dict(dict(weights.tensors))
        except (RuntimeError, KeyError) as error:
            raise ModelError(
                f"the weights do not fit the denoiser of this base: {str(error)[:300]}",
                next_step="Open them on the base that they were fitted on.",
            ) from error
    setattr(pipeline, name, fork)
    try:
        yield
    finally:
        setattr(pipeline, name, base)
