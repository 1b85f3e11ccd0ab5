"""lm-eval harness, its Hugging Face backend: one padded row for every prompt + label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.models.backend import ScoreRequest


class Harness:
    """`HFLM` over a module that both sides share. `rows` is its batch size.

    Its own look-up of shared contexts is on (the default); it helps labels of one token.
    """

    def __init__(self, module: Any, tokenizer: Any, *, rows: int, exact: bool = False) -> None:
        """`exact` takes the softmax in float32, which costs time and is what we compare with."""
        from lm_eval.models.huggingface import HFLM

        self.settings = {"batch_size": rows, "logits_cache": True}
        self.model = HFLM(
            pretrained=module,
            tokenizer=tokenizer,
            device="cpu",
            batch_size=rows,
            softmax_dtype=torch.float32 if exact else None,
        )

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Summed log-probabilities, one list a request."""
        from lm_eval.api.instance import Instance

        instances = [
            Instance(
                request_type="loglikelihood",
                doc={},
                arguments=(request.prompt.text, label),
                idx=k,
            )
            for request in requests
            for k, label in enumerate(request.continuations)
        ]
        found = iter(self.model.loglikelihood(instances, disable_tqdm=True))
        return [[next(found)[0] for _ in request.continuations] for request in requests]
