"""The parameters of one trial: virtual tokens, prefixes of keys and values, or all weights.

The parameters of an adapter stand in `training.adapter_fit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from luthier.training.trainable import State


class SoftPromptParameters:
    """P virtual tokens, plain or with a residual reparameterisation.

    Residual (Razdaibiedina et al. 2023, arXiv:2305.03937, section 3): P' = P +
    Up(ReLU(Down(LayerNorm(P)))) with a bottleneck shared by all tokens; only P' is kept after
    training.
    """

    def __init__(self, start: torch.Tensor, *, bottleneck: int | None) -> None:
        """`start` is (P, H). `bottleneck` None trains the tokens alone."""
        self.tokens = torch.nn.Parameter(start.clone().float())
        self.net: torch.nn.Module | None = None
        if bottleneck is not None:
            width = start.shape[1]
            up = torch.nn.Linear(bottleneck, width)
            torch.nn.init.zeros_(up.weight)  # the first step starts from the initial tokens
            torch.nn.init.zeros_(up.bias)
            self.net = torch.nn.Sequential(
                torch.nn.LayerNorm(width),
                torch.nn.Linear(width, bottleneck),
                torch.nn.ReLU(),
                up,
            ).to(start.device)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The tokens, and the bottleneck if there is one."""
        return [self.tokens, *(self.net.parameters() if self.net is not None else ())]

    def soft(self) -> torch.Tensor:
        """(1, P, H)."""
        shift = self.net(self.tokens) if self.net is not None else 0.0
        return (self.tokens + shift).unsqueeze(0)

    def state(self) -> State:
        """Tokens and bottleneck."""
        return {str(i): p.detach().cpu().clone() for i, p in enumerate(self.parameters())}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        for i, parameter in enumerate(self.parameters()):
            parameter.data.copy_(state[str(i)])


class KeysAndValues(SoftPromptParameters):
    """P learnt rows of keys and values, each (layer, key or value, head, width) flattened to W as
    in PEFT. What trains is the pairs divided by `scale` (W,), so that one learning rate serves
    layers of any scale."""

    def __init__(self, start: torch.Tensor, scale: torch.Tensor) -> None:
        """`start` is (P, W)."""
        super().__init__(start / scale, bottleneck=None)
        self.scale = scale

    def soft(self) -> torch.Tensor:
        """(1, P, W)."""
        return super().soft() * self.scale


class WeightParameters:
    """Every weight of a fork of the base."""

    def __init__(self, module: Any) -> None:
        self.module = module.requires_grad_(True)

    def parameters(self) -> list[torch.nn.Parameter]:
        """All, tied ones once."""
        return list(self.module.parameters())

    def soft(self) -> None:
        """A fork makes no virtual tokens."""
        return

    def state(self) -> State:
        """Named parameters; tied ones once, so that safetensors takes them."""
        return {k: p.detach().cpu().clone() for k, p in self.module.named_parameters()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        for name, parameter in self.module.named_parameters():
            parameter.data.copy_(state[name])
