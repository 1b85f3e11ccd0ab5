"""What a technique marks trainable, behind two small contracts: what the loop steps, and where the
parameters of one trial live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from luthier.models.model import Model
from luthier.records import Example
from luthier.training.rows import TrainRow

State = dict[str, torch.Tensor]
FROZEN_BASE = 2  # forward, and backward through activations
TRAINED_WEIGHTS = 3  # and backward to the weights


class Trainable(Protocol):
    """Trials that the loop steps, by number. `together` says that several can be live at once,
    `factor` how many forward-token equivalents a trained token costs."""

    together: bool
    factor: int

    def ready(self, rows: Sequence[TrainRow]) -> None:
        """Hear of all rows before the first step."""
        ...

    def parameters(self, trial: int) -> list[torch.nn.Parameter]:
        """What the optimiser steps."""
        ...

    def state(self, trial: int) -> State:
        """A copy of a trial's parameters."""
        ...

    def load(self, trial: int, state: Mapping[str, torch.Tensor]) -> None:
        """Put a state back."""
        ...

    def losses(self, rows: Sequence[TrainRow], live: Sequence[int]) -> list[torch.Tensor]:
        """For each live trial the mean negative log-likelihood, nats per answer token."""
        ...

    def cost(self, rows: Sequence[TrainRow], live: Sequence[int]) -> int:
        """What this step would spend, in forward-token equivalents."""
        ...

    def standing(self, rows: Sequence[TrainRow]) -> int:
        """The part of the cost that is paid once for these rows and not at every step."""
        ...

    def replay(self, rows: Sequence[TrainRow]) -> None:
        """A step of a resumed fit that was done before: bring back what it left for later ones."""
        ...

    def dev_evaluator(
        self, model: Model, examples: Sequence[Example]
    ) -> Callable[[Sequence[int]], tuple[list[float], int]]:
        """A function that scores trials on dev examples and says what that spent."""
        ...


class TrialParameters(Protocol):
    """Parameters of one trial, the soft prompt they make (if they make one), and their state."""

    def parameters(self) -> list[torch.nn.Parameter]:
        """What the optimiser steps."""
        ...

    def soft(self) -> torch.Tensor | None:
        """The (1, P, H) virtual tokens as a function of the parameters; None for other methods."""
        ...

    def state(self) -> State:
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

    def state(self) -> State:
        """Tokens and bottleneck."""
        return {str(i): p.detach().cpu().clone() for i, p in enumerate(self.parameters())}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        for i, parameter in enumerate(self.parameters()):
            parameter.data.copy_(state[str(i)])


class KeysAndValues(SoftPromptParameters):
    """P learnt rows of keys and values, each (layer, key or value, head, width) flattened to W as
    in PEFT. Numbers are held in `unit` (W,), so that one learning rate serves layers of any
    scale."""

    def __init__(self, start: torch.Tensor, unit: torch.Tensor) -> None:
        """`start` is (P, W)."""
        super().__init__(start / unit, bottleneck=None)
        self.unit = unit

    def soft(self) -> torch.Tensor:
        """(1, P, W)."""
        return super().soft() * self.unit


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

    def state(self) -> State:
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

    def state(self) -> State:
        """Named parameters; tied ones once, so that safetensors takes them."""
        return {k: p.detach().cpu().clone() for k, p in self.module.named_parameters()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        for name, parameter in self.module.named_parameters():
            parameter.data.copy_(state[name])
