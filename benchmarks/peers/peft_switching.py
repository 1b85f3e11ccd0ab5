"""PEFT with all adapters loaded into one model: it switches for each request, or takes rows of
several adapters in one batch, each its own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from luthier.models.adaptation import Adapter
from luthier.models.backend import ScoreRequest


class Switching:
    """All labels of a request are one batch, and the head runs on their places only. `rows` > 0:
    that many requests a batch through `adapter_names`, in place of switching."""

    def __init__(
        self, module: Any, tokenizer: Any, adapters: Sequence[Adapter], *, rows: int = 0
    ) -> None:
        import peft

        self.tokenizer, self.rows = tokenizer, rows
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
        way = f"adapter_names, {self.rows} requests a batch" if self.rows else "set_adapter"
        return {"way": way, "labels_in_one_batch": True}

    @torch.inference_mode()
    def score(self, asked: Sequence[tuple[ScoreRequest, int]]) -> list[list[float]]:
        """Summed log-probabilities of the labels, in the order of the queue."""
        out: list[list[float]] = []
        step = self.rows or 1
        for at in range(0, len(asked), step):
            part = asked[at : at + step]
            extra: dict[str, Any] = {}
            if self.rows:
                extra["adapter_names"] = [str(k) for r, k in part for _ in r.continuations]
            else:
                self.model.set_adapter(str(part[0][1]))
            out += self._batch([r for r, _ in part], extra)
        return out

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
