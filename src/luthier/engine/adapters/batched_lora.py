"""LoRA adapters of several adaptations in one batch: one pass of the base, and each row's own
low-rank product beside it (as Punica does, Chen et al. 2023, arXiv:2310.18547, section 3).

y = W x + s_k B_k A_k x, where k is the adapter of the row in which x stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from luthier.models.adaptation import Adapter

# Settings that change what is computed beyond A, B and one scale.
MORE_THAN_LORA = (
    "use_dora", "rank_pattern", "alpha_pattern", "layer_replication", "modules_to_save",
    "trainable_token_indices", "lora_bias", "alora_invocation_tokens",
)  # fmt: skip
# While the same rows go on, their matrices are gathered once, if they take no more than this.
GATHERED_BYTES = 256 << 20
TENSOR = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


def shares_batches(adapter: Adapter) -> bool:
    """Whether an adapter can share a batch with others: plain LoRA on linear layers can."""
    config = adapter.config
    plain = config.get("peft_type") == "LORA" and not any(config.get(n) for n in MORE_THAN_LORA)
    names = [TENSOR.fullmatch(name) for name in adapter.tensors]
    return plain and config.get("bias", "none") == "none" and bool(names) and all(names)


class BatchedLoRA:
    """Adapters numbered from 1 in the order given; 0 is the bare base.

    For each adapted layer `down` is (K + 1, in, r) and `up` (K + 1, r, out), scaled; they are zero
    where an adapter leaves the layer alone or has a lower rank.
    """

    def __init__(self, module: Any, adapters: Sequence[Adapter]) -> None:
        self._module = module
        self._of_rows = torch.zeros(0, dtype=torch.long)
        self._of_all: int | None = None
        self._gathered: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.layers: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        like = module.get_input_embeddings().weight
        found: dict[str, dict[int, tuple[torch.Tensor, torch.Tensor]]] = {}
        for k, adapter in enumerate(adapters, 1):
            for name in {m[1] for t in adapter.tensors if (m := TENSOR.fullmatch(t))}:
                a, b = (
                    adapter.tensors[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB"
                )
                found.setdefault(name, {})[k] = (a, b * _scale(adapter))
        for name, each in found.items():
            rank = max(len(a) for a, _ in each.values())
            a, b = next(iter(each.values()))
            down = torch.zeros(len(adapters) + 1, a.shape[1], rank)
            up = torch.zeros(len(adapters) + 1, rank, b.shape[0])
            for k, (a, b) in each.items():
                down[k, :, : len(a)], up[k, : len(a)] = a.T, b.T
            self.layers[name] = down.to(like), up.to(like)
        row = [t[0] for pair in self.layers.values() for t in pair]
        self._row_bytes = sum(t.numel() * t.element_size() for t in row)

    @contextmanager
    def injected(self) -> Iterator[None]:
        """The base with the products beside its layers."""
        hooks = [
            self._module.get_submodule(name).register_forward_hook(self._beside(name))
            for name in self.layers
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def select(self, adapters: Sequence[int]) -> None:
        """Say which adapter each row of the coming forward pass is under."""
        if self._of_rows.tolist() != list(adapters):
            self._gathered = {}
        self._of_rows = torch.tensor(adapters)
        self._of_all = adapters[0] if len(set(adapters)) == 1 else None

    def _beside(self, name: str) -> Any:
        def hook(_: Any, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
            if self._of_all == 0:
                return out
            if self._of_all is not None:
                down, up = (side[self._of_all] for side in self.layers[name])
                return out + inputs[0] @ down @ up
            down, up = self._matrices(name)
            # Some layers see all rows as one long row.
            values = inputs[0].reshape(len(down), -1, inputs[0].shape[-1])
            beside = out.reshape(len(down), -1, out.shape[-1])
            return torch.baddbmm(beside, values @ down, up).reshape(out.shape)

        return hook

    def _matrices(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The matrices of each row side by side: (rows, in, r) and (rows, r, out)."""
        found = self._gathered.get(name)
        if found is None:
            down, up = self.layers[name]
            which = self._of_rows.to(down.device)
            found = down[which], up[which]
            if len(which) * self._row_bytes <= GATHERED_BYTES:
                self._gathered[name] = found
        return found


def _scale(adapter: Adapter) -> float:
    """α / r, or α / √r where the adapter was made so (Kalajdzievski 2023, arXiv:2312.03732)."""
    rank, alpha = float(adapter.config["r"]), float(adapter.config["lora_alpha"])
    return alpha / (math.sqrt(rank) if adapter.config.get("use_rslora") else rank)
