"""Prefixes of learnt keys and values: where they start, and their trials.

P tokens; W = layers · 2 · key heads · head width, the numbers of one token, laid out as in PEFT.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luthier.engine import Session
from luthier.training.parameters import KeysAndValues
from luthier.training.prompt_tuning.prefill import prefill
from luthier.training.prompt_tuning.strategies import Ids, KeyValuePrefix, Strategy
from luthier.training.prompt_tuning.trials import SoftTrials


@torch.no_grad()
def keys_and_values(session: Session, ids: Sequence[int]) -> torch.Tensor:
    """(P, layers, 2, key heads, head width) that the base computes for `ids`, in one pass."""
    layers = prefill(session, [list(ids)]).layers
    pairs = [torch.stack([k[0], v[0]]).permute(2, 0, 1, 3) for k, v in layers]
    return torch.stack(pairs, 1).float()


def scales(start: torch.Tensor) -> torch.Tensor:
    """(W,): for the keys, and for the values, of each layer how far tokens lie from their mean
    (root mean square). A step of AdamW is absolute, and layers differ in scale."""
    spread = (start - start.mean(0)).pow(2).mean((0, 3, 4), keepdim=True).sqrt()
    return spread.clamp(min=1e-6).expand(start.shape)[0].flatten()


class PrefixTrials(SoftTrials):
    """The prefixes of each trial, all of one length; `shape` is what W unfolds to."""

    def __init__(
        self, session: Session, trials: Sequence[KeysAndValues], shape: torch.Size
    ) -> None:
        super().__init__(session, trials, placement="before")
        self.shape = shape
        if session.soft is not None:
            self.virtual_tokens += int(session.soft.shape[1])

    def _strategy_for(self, prompts: Sequence[Ids]) -> Strategy:
        return KeyValuePrefix(self.session, self.shape)
