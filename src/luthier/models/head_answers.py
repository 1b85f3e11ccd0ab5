"""Answers of a head: a linear classifier on the base's own states, in place of its output layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from luthier.content import Response, Usage
from luthier.errors import ModelError
from luthier.models.prompt import Rendered
from luthier.records import Capability

if TYPE_CHECKING:
    from luthier.models.model import Model


def answer_by_head(model: Model, prompts: Sequence[Rendered]) -> list[Response]:
    """The likeliest label of softmax(W x + b), x being the pooled state of the head's layer.

    CapabilityError where the backend does not show its states.
    """
    import torch

    head = model.adaptation.head
    assert head is not None
    if Capability.EMBEDDINGS not in model.capabilities:
        raise model.backend.lacks(Capability.EMBEDDINGS)
    responses = []
    pooled = model.backend.pooled_states(prompts, model.adaptation, layers=(head.layer,))
    for states in pooled:
        state = torch.from_numpy(states.last[0] if head.pooling == "last" else states.mean[0])
        if head.weight.shape[1] != len(state):
            raise ModelError(
                f"the head reads states of width {head.weight.shape[1]}, and this base has "
                f"{len(state)}",
                next_step="Open it on the base that it was fitted on: --base, or load(…, base=…).",
            )
        logprobs = torch.log_softmax(head.weight @ state + head.bias, dim=0).tolist()
        best = head.labels[max(range(len(logprobs)), key=logprobs.__getitem__)]
        responses.append(
            Response(
                text=best,
                parsed=best,
                parseable=True,
                label_logprobs=dict(zip(head.labels, logprobs, strict=True)),
                usage=Usage(states.tokens, 0, states.tokens, 1),
            )
        )
    return responses
