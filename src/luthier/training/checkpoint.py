"""A fit's checkpoint: one safetensors file, replaced atomically, with the plain numbers in its
header."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.context import checkpoint_folder

FILE = "fit.safetensors"
SECONDS_BETWEEN = 20.0


@dataclass(slots=True)
class Checkpoint:
    """Where the current fit may leave its state. `here()` is None where nobody gave it a folder."""

    path: Path
    written: float

    @classmethod
    def here(cls) -> Checkpoint | None:
        """In the folder of the surrounding work."""
        folder = checkpoint_folder()
        if folder is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / FILE, time.monotonic())

    @property
    def due(self) -> bool:
        """Whether the last one is old enough for another."""
        return time.monotonic() - self.written > SECONDS_BETWEEN

    def read(self) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]] | None:
        """Numbers and groups of tensors, None when there is none."""
        if not self.path.is_file():
            return None
        from safetensors import safe_open

        groups: dict[str, dict[str, torch.Tensor]] = {}
        with safe_open(self.path, "pt") as file:
            numbers = json.loads(file.metadata()["fit"])
            for key in file.keys():  # noqa: SIM118 - not a dict
                group, name = key.split("|", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
        return numbers, groups

    def write(
        self, numbers: Mapping[str, Any], groups: Mapping[str, Mapping[str, torch.Tensor]]
    ) -> None:
        """Replace the file; a kill leaves the old one or the new one."""
        from safetensors.torch import save_file

        # Clones: the best state and the winner's may be one, and safetensors shares nothing; in
        # rows, for a denoiser keeps its channels last.
        flat = {
            f"{g}|{k}": v.clone(memory_format=torch.contiguous_format)
            for g, group in groups.items()
            for k, v in group.items()
        }
        scratch = self.path.with_suffix(".part")
        save_file(flat, scratch, metadata={"fit": json.dumps(numbers)})
        os.replace(scratch, self.path)
        self.written = time.monotonic()

    def drop(self) -> None:
        """The fit is over."""
        self.path.unlink(missing_ok=True)


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The tensors of an optimiser, by parameter and name."""
    return {
        f"{index}.{name}": value.detach().cpu().clone()
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, torch.Tensor]) -> None:
    """Put them back, each laid out in memory as its parameter is, which a fused step relies on; the
    parameter groups stay as they are."""
    whole = optimiser.state_dict()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    by_parameter: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)]
        laid = torch.empty_like(like, dtype=value.dtype, device=value.device)
        own = laid.copy_(value) if value.shape == like.shape else value.clone()
        by_parameter.setdefault(int(index), {})[name] = own
    whole["state"] = by_parameter
    optimiser.load_state_dict(whole)
