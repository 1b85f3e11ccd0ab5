"""Weights in float32 that learn, beside a copy in the precision that is fast."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

KINDS = ("encoder", "decoder", "attention", "embedding", "position")


def kind_of(name: str) -> str:
    """The group of rates that a parameter belongs to."""
    if "embed_positions" in name:
        return "position"
    if "shared" in name:
        return "embedding"
    if "encoder_attn" in name:
        return "attention"
    return "decoder" if ".decoder." in name else "encoder"


class Twin:
    """A model, its copy that passes are run on, and AdamW over the model.

    Gradients come from the copy, the step is made in float32, and the copy follows. Without
    ``half`` both are one. A group whose rate is 0 stays as it is, and has no gradients.
    """

    def __init__(self, model: nn.Module, rates: dict[str, float], half: bool):
        self.model = model
        for name, p in model.named_parameters():
            p.requires_grad_(rates[kind_of(name)] > 0)
        self.fast: Any = copy.deepcopy(model).to(torch.bfloat16) if half else model
        self.named = named = dict(model.named_parameters())
        fast = dict(self.fast.named_parameters())
        self.pairs = [(named[n], fast[n]) for n in named if fast[n] is not named[n]]
        groups: dict[str, list[nn.Parameter]] = {k: [] for k in KINDS}
        for name, p in self.named.items():
            groups[kind_of(name)].append(p)
        self.optimiser = torch.optim.AdamW(
            [
                {"params": groups[k], "peak": rates[k], "kind": k,
                 "weight_decay": 0.0 if k in ("embedding", "position") else 0.01}
                for k in KINDS
            ],
            lr=1e-4, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip

    def step(self, scales: dict[str, float], clip: float = 1.0) -> float:
        """One update at ``scales`` × the peak rates; returns the gradient's norm. A group at 0
        stays as it is."""
        for own, fast in self.pairs:
            own.grad = None if fast.grad is None else fast.grad.float()
            fast.grad = None
        for group in self.optimiser.param_groups:
            group["lr"] = scales[group["kind"]] * group["peak"]
            if group["lr"] == 0:
                for p in group["params"]:
                    p.grad = None
        every = [p for g in self.optimiser.param_groups for p in g["params"]]
        norm = nn.utils.clip_grad_norm_(every, clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.follow()
        return float(norm)

    @torch.no_grad()
    def follow(self) -> None:
        """Copy the weights into the fast copy."""
        for own, fast in self.pairs:
            fast.copy_(own)

    def state(self) -> dict[str, Tensor]:
        """Weights and the optimiser's tensors by name, for one safetensors file."""
        out: dict[str, Tensor] = dict(self.named)
        for name, p in self.named.items():
            for key, value in self.optimiser.state.get(p, {}).items():
                out[f"optimiser.{key}.{name}"] = value
        return out

    @torch.no_grad()
    def restore(self, saved: dict[str, Tensor]) -> None:
        """Put back what :meth:`state` returned."""
        for name, p in self.named.items():
            p.copy_(saved[name])
            if p.requires_grad and f"optimiser.step.{name}" in saved:
                keys = ("step", "exp_avg", "exp_avg_sq")
                self.optimiser.state[p] = {
                    key: saved[f"optimiser.{key}.{name}"].clone() for key in keys
                }
        self.follow()
