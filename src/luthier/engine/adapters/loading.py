"""Weights put into a base: what does not fit is refused, and never loaded as nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from luthier.errors import ModelError
from luthier.models.adaptation import Adapter, Weights

SHOWN = 3  # names in a message
MOST_SIZE = 1_000_000  # a rank or a length: larger ones take all memory
MOST_REPETITIONS = 6  # in a pattern of modules' names, which PEFT matches without a time limit
_REPEATED_GROUP = re.compile(r"\)\s*[*+{]")
_REPETITION = re.compile(r"[*+{]")


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


def check_config(config: Mapping[str, Any]) -> None:
    """ModelError for a config of PEFT that would take all memory, or for ever: it may come from
    anyone."""
    for name, value in config.items():
        numbers = value.values() if isinstance(value, Mapping) else [value]
        if any(isinstance(n, int) and n > MOST_SIZE for n in numbers):
            raise ModelError(f"the adapter has {name} {value!r:.80}, more than {MOST_SIZE:,}")
    for pattern in _patterns(config):
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise ModelError(f"the adapter's pattern {pattern!r:.80} is none: {error}") from error
        if _REPEATED_GROUP.search(pattern) or len(_REPETITION.findall(pattern)) > MOST_REPETITIONS:
            raise ModelError(
                f"the adapter's pattern {pattern!r:.80} may search for ever: it repeats a group, "
                f"or has more than {MOST_REPETITIONS} repetitions",
                next_step="Name the modules in a list.",
            )


def _patterns(config: Mapping[str, Any]) -> Iterator[str]:
    """The regular expressions in a config of PEFT."""
    for name in ("target_modules", "exclude_modules", "feedforward_modules", "layers_pattern"):
        value = config.get(name)
        if isinstance(value, str) and value != "all-linear":
            yield value
    for name in ("rank_pattern", "alpha_pattern"):
        value = config.get(name)
        if isinstance(value, Mapping):
            yield from (key for key in value if isinstance(key, str))


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
