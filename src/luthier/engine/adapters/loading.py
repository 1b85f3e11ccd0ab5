"""Weights put into a base: what does not fit is refused, and never loaded as nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luthier.errors import ModelError
from luthier.models.adaptation import Adapter, Weights

SHOWN = 3  # names in a message


def load_weights(module: Any, weights: Weights) -> None:
    """Put a fork's tensors into a module. ModelError where names or shapes do not fit.

    What the fork does not name stays the base's: tied output embeddings, layers that were frozen.
    """
    try:
        found = module.load_state_dict(dict(weights.tensors), strict=False)
    except RuntimeError as error:
        raise _refused("weights", [str(error).splitlines()[-1].strip()]) from error
    if found.unexpected_keys:
        raise _refused("weights", found.unexpected_keys)


def load_adapter(wrapped: Any, adapter: Adapter) -> None:
    """Put an adapter's tensors into a PeftModel. ModelError where names or shapes do not fit, or
    where the adapter leaves any of its places empty."""
    import peft

    try:
        found = peft.set_peft_model_state_dict(wrapped, dict(adapter.tensors))
    except RuntimeError as error:
        raise _refused("adapter", [str(error).splitlines()[-1].strip()]) from error
    own = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    missing = [name for name in own if name not in adapter.tensors]
    beyond = [name for name in found.unexpected_keys if name not in own]  # a prefix is loaded apart
    if beyond or missing:
        raise _refused("adapter", [*beyond, *missing])


def _refused(what: str, names: Sequence[str]) -> ModelError:
    more = "" if len(names) <= SHOWN else f" and {len(names) - SHOWN} more"
    return ModelError(
        f"the {what} does not fit this base: {', '.join(names[:SHOWN])}{more}",
        next_step="Open it on the base that it was fitted on: --base, or load(…, base=…).",
    )
