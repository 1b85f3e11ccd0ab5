"""Muon for the hidden matrices, AdamW for everything else, in one small optimiser.

Muon (Jordan 2024): momentum, then the nearest orthogonal matrix by five Newton–Schulz steps in
bfloat16, then a step scaled by √max(1, rows/columns). Matrices of one shape are stacked, which
matters on one core. The state is a flat dict of tensors, so a checkpoint is one safetensors file.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """Newton–Schulz on a stack of matrices, (N, rows, columns)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).to(g.dtype)


class MuonAdam:
    """The optimiser; ``matrix_lr`` and ``other_lr`` are peak rates, ``step(scale)`` scales both."""

    def __init__(
        self,
        named: dict[str, nn.Parameter],
        *,
        matrix_lr: float,
        other_lr: float,
        embedding_lr: float,
        decay: float = 0.01,
        momentum: float = 0.95,
    ) -> None:
        self.named, self.matrix_lr = named, matrix_lr
        self.other_lr, self.embedding_lr = other_lr, embedding_lr
        self.decay, self.momentum = decay, momentum
        self.state: dict[str, Tensor] = {"t": torch.zeros(())}
        self.stacks: dict[tuple[int, ...], list[str]] = defaultdict(list)
        self.others: list[str] = []
        for name, p in named.items():
            if p.ndim == 2 and ".layers." in name:
                self.stacks[tuple(p.shape)].append(name)
                self.state[f"m.{name}"] = torch.zeros_like(p)
            else:
                self.others.append(name)
                self.state[f"m.{name}"] = torch.zeros_like(p)
                self.state[f"v.{name}"] = torch.zeros_like(p)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Update every parameter from its gradient and clear the gradient."""
        self.state["t"] += 1
        t = float(self.state["t"])
        mu = min(self.momentum, 0.85 + 0.1 * t / 300)
        for shape, every in self.stacks.items():
            names = [n for n in every if self.named[n].grad is not None]
            if not names:
                continue
            nudges = []
            for name in names:
                g, m = self.named[name].grad, self.state[f"m.{name}"]
                m.lerp_(g, 1 - mu)
                nudges.append(g.lerp(m, mu))
            lr = self.matrix_lr * scale
            out = orthogonal(torch.stack(nudges)) * max(1.0, shape[0] / shape[1]) ** 0.5
            for name, o in zip(names, out, strict=True):
                p = self.named[name]
                p.mul_(1 - lr * self.decay).sub_(o, alpha=lr)
        for name in self.others:
            p, m, v = self.named[name], self.state[f"m.{name}"], self.state[f"v.{name}"]
            if p.grad is None:  # a batch without cues leaves the auxiliary head alone
                continue
            lr = scale * (self.embedding_lr if "embed" in name else self.other_lr)
            m.lerp_(p.grad, 0.1)
            v.lerp_(p.grad.square(), 0.02)
            p.sub_(lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.98**t)).sqrt() + 1e-8))
        for p in self.named.values():
            p.grad = None
