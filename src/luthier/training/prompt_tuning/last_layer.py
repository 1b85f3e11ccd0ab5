"""The last layer, run for the columns alone whose predictions are read.

For all other columns it has to make keys and values, and nothing more: with six layers that saves
an eighth of a step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

from luthier.engine import Session

# What a layer is given for each column, and the dimension that counts them. A layer that is given
# other tensors runs for all columns.
COLUMNS = {"attention_mask": 2, "position_ids": 1, "position_embeddings": 1}
WORTH_IT = 0.5  # share of the columns that are read; above it the second pass saves little


class CacheFilled(Exception):  # noqa: N818 - nothing went wrong
    """The keys and values of a layer are there; nobody reads what would follow."""


@contextmanager
def restricted_last_layer(session: Session, keep: Sequence[int], width: int) -> Iterator[None]:
    """Inside it a forward pass over `width` columns returns zeros for those not in `keep`."""
    layer = _last(session)
    if layer is None or len(keep) > WORTH_IT * width:
        yield
        return
    whole, columns = layer.forward, torch.tensor(keep, device=session.device)
    replaced = "forward" in vars(layer)

    def forward(hidden_states: torch.Tensor, *others: Any, **named: Any) -> Any:
        cache = named.get("past_key_values")
        known = all(name in COLUMNS for name, given in named.items() if _has_tensors(given))
        if others or cache is None or not known:
            return whole(hidden_states, *others, **named)
        named["past_key_values"] = _Once(cache)
        with suppress(CacheFilled):
            whole(hidden_states, **named)
        cut = {
            name: _cut(named[name], dim, columns) for name, dim in COLUMNS.items() if name in named
        }
        found = whole(hidden_states.index_select(1, columns), **{**named, **cut})
        if not torch.is_tensor(found):
            return whole(hidden_states, **named)
        return found.new_zeros(hidden_states.shape).index_copy(1, columns, found)

    layer.forward = forward
    try:
        yield
    finally:
        if replaced:
            layer.forward = whole
        else:
            del layer.forward  # a copy of the module must not be bound to this one


class _Once:
    """A cache that takes the keys and values of all columns, and gives them to a few."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache
        self.both: Any = None

    def update(self, *given: Any, **named: Any) -> Any:
        """Keep them and raise `CacheFilled` the first time; later give back what was kept."""
        if self.both is None:
            self.both = self.cache.update(*given, **named)
            raise CacheFilled
        return self.both


def _last(session: Session) -> Any:
    """The last layer; it stands in a list of as many modules as the config has layers."""
    count = session.module.config.get_text_config().num_hidden_layers
    for module in session.module.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module[-1]
    return None


def _has_tensors(given: Any) -> bool:
    return any(torch.is_tensor(g) for g in (given if isinstance(given, tuple) else (given,)))


def _cut(given: Any, dim: int, columns: torch.Tensor) -> Any:
    if isinstance(given, tuple):
        return tuple(_cut(g, dim, columns) for g in given)
    return given.index_select(dim, columns) if torch.is_tensor(given) else given
