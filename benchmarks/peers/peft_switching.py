"""PEFT with all adapters loaded into one model: it switches for each request, or for each batch of
a queue sorted by adapter, or takes rows of several adapters in one batch, each its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from luthier.models.adaptation import Adapter
from luthier.models.backend import ScoreRequest


class Switching:
    """All labels of a request are one batch, and the head runs on their places only. `rows`: most
    requests a batch. `together`: through `adapter_names`, in place of switching; it raises
    ValueError for bases (OPT) whose layers flatten a batch, for PEFT counts rows there."""

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        adapters: Sequence[Adapter],
        *,
        rows: int = 1,
        together: bool = False,
    ) -> None:
        import peft

        self.tokenizer, self.rows, self.together = tokenizer, rows, together
        config = peft.get_peft_config(dict(adapters[0].config))
        self.model = peft.get_peft_model(copy.deepcopy(module), config, adapter_name="0")
        for k in range(1, len(adapters)):
            self.model.add_adapter(str(k), peft.get_peft_config(dict(adapters[k].config)))
        for k, adapter in enumerate(adapters):
            peft.set_peft_model_state_dict(self.model, dict(adapter.tensors), adapter_name=str(k))
        self.model.eval()

    @property
    def settings(self) -> dict[str, Any]:
        """For the results file."""
        switching = "adapter_names" if self.together else "set_adapter"
        if self.rows > 1:
            switching += f", {self.rows} requests a batch"
            switching += "" if self.together else ", sorted by adapter"
        return {"switching": switching, "labels_in_one_batch": True}

    @torch.inference_mode()
    def score(self, asked: Sequence[tuple[ScoreRequest, int]]) -> list[list[float]]:
        """Summed log-probabilities of the labels, in the order of the queue."""
        out: list[list[float]] = [[] for _ in asked]
        for part in self._parts([k for _, k in asked]):
            extra: dict[str, Any] = {}
            if self.together:
                extra["adapter_names"] = [
                    str(asked[i][1]) for i in part for _ in asked[i][0].continuations
                ]
            else:
                self.model.set_adapter(str(asked[part[0]][1]))
            for i, found in zip(part, self._batch([asked[i][0] for i in part], extra), strict=True):
                out[i] = found
        return out

    def _parts(self, adapters: Sequence[int]) -> list[list[int]]:
        """Which requests of the queue make a batch."""
        order = list(range(len(adapters)))
        if self.together or self.rows == 1:
            return [order[at : at + self.rows] for at in range(0, len(order), self.rows)]
        parts = []
        for k in sorted(set(adapters)):
            mine = [i for i in order if adapters[i] == k]
            parts += [mine[at : at + self.rows] for at in range(0, len(mine), self.rows)]
        return parts

    def _batch(self, requests: Sequence[ScoreRequest], extra: dict[str, Any]) -> list[list[float]]:
        rows, starts = [], []
        for request in requests:
            start = len(self.tokenizer(request.prompt.text).input_ids)
            for label in request.continuations:
                rows.append(self.tokenizer(request.prompt.text + label).input_ids)
                starts.append(start)
        assert len({len(r) for r in rows}) == len(set(starts)) == 1  # texts of an exact length
        ids = torch.tensor(rows)
        tail = ids.shape[1] - starts[0]
        out = self.model(input_ids=ids, use_cache=False, logits_to_keep=tail + 1, **extra)
        logs = out.logits[:, -tail - 1 : -1].float().log_softmax(-1)
        sums = logs.gather(-1, ids[:, -tail:].unsqueeze(-1)).squeeze(-1).sum(-1).tolist()
        many = len(requests[0].continuations)
        return [sums[i : i + many] for i in range(0, len(sums), many)]
