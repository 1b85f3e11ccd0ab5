"""What a technique marks trainable, behind one small contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch


class Trainable(Protocol):
    """Parameters to step, the soft prompt they make (if they make one), and their state."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """What the optimiser steps."""
        ...

    def soft(self) -> torch.Tensor | None:
        """The (1, P, H) virtual tokens as a function of the parameters; None for other methods."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of all parameters."""
        ...

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a state back."""
        ...


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

    def state(self) -> dict[str, torch.Tensor]:
        """Tokens and bottleneck."""
        return {str(i): p.detach().cpu().clone() for i, p in enumerate(self.parameters())}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        for i, parameter in enumerate(self.parameters()):
            parameter.data.copy_(state[str(i)])


class AdapterParameters:
    """What PEFT left trainable in a wrapped model."""

    def __init__(self, peft_model: Any) -> None:
        self.peft_model = peft_model

    def parameters(self) -> list[torch.nn.Parameter]:
        """Those with gradients."""
        return [p for p in self.peft_model.parameters() if p.requires_grad]

    def soft(self) -> None:
        """An adapter makes no virtual tokens."""
        return

    def state(self) -> dict[str, torch.Tensor]:
        """As in adapter_model.safetensors."""
        import peft

        found = peft.get_peft_model_state_dict(self.peft_model)
        return {k: v.detach().cpu().clone() for k, v in found.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put it back."""
        import peft

        peft.set_peft_model_state_dict(self.peft_model, dict(state))


class AllParameters:
    """Every weight of a fork."""

    def __init__(self, module: Any) -> None:
        self.module = module.requires_grad_(True)

    def parameters(self) -> list[torch.nn.Parameter]:
        """All, tied ones once."""
        return list(self.module.parameters())

    def soft(self) -> None:
        """A fork makes no virtual tokens."""
        return

    def state(self) -> dict[str, torch.Tensor]:
        """Named parameters; tied ones once, so that safetensors takes them."""
        return {k: p.detach().cpu().clone() for k, p in self.module.named_parameters()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        for name, parameter in self.module.named_parameters():
            parameter.data.copy_(state[name])
