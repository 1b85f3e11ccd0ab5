"""AdamW in groups of rates, with its state as a flat dict for one safetensors file.

Muon (Jordan 2024) was the choice for a network of 5.6 million parameters from random weights. Here
its orthogonal steps cost as much as the passes themselves, and the weights have much to lose.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def create(
    named: dict[str, nn.Parameter], *, matrix_lr: float, other_lr: float, embedding_lr: float
) -> torch.optim.AdamW:
    """One optimiser; each group keeps its peak rate as ``peak``."""
    groups: dict[str, list[nn.Parameter]] = {
        "matrix": [],
        "other": [],
        "embedding": [],
        "fitted": [],
    }
    for name, p in named.items():
        kind = "embedding" if "embed" in name else "matrix" if p.ndim == 2 else "other"
        groups["fitted" if name.startswith("auxiliary") else kind].append(p)
    peaks = {"matrix": matrix_lr, "other": other_lr, "embedding": embedding_lr}
    peaks["fitted"] = 0.1 * other_lr  # the sentence head, of small weights that are nearly right
    return torch.optim.AdamW(
        [
            {
                "params": groups[k],
                "peak": peaks[k],
                "matrix": k == "matrix",
                "weight_decay": 0.01 * (k == "matrix"),
            }
            for k in groups
        ],
        lr=matrix_lr,
        betas=(0.9, 0.98),
        fused=True,
    )


def step(
    optimiser: torch.optim.AdamW, scale: float, matrix_scale: float, clip: float = 1.0
) -> None:
    """One update at ``scale`` × the peak rates, the matrices at ``matrix_scale`` × theirs.

    Gradients are clipped to a norm and cleared.
    """
    for group in optimiser.param_groups:
        group["lr"] = (matrix_scale if group["matrix"] else scale) * group["peak"]
    every = [p for group in optimiser.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(every, clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def state(optimiser: torch.optim.AdamW, named: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimiser's tensors by parameter name."""
    return {
        f"{key}.{name}": value
        for name, p in named.items()
        for key, value in optimiser.state.get(p, {}).items()
    }


def restore(
    optimiser: torch.optim.AdamW, named: dict[str, nn.Parameter], saved: dict[str, Tensor]
) -> None:
    """Put back what :func:`state` returned."""
    for name, p in named.items():
        keys = ("step", "exp_avg", "exp_avg_sq")
        if f"step.{name}" in saved:
            optimiser.state[p] = {key: saved[f"{key}.{name}"].clone() for key in keys}
