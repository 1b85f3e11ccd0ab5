"""Requests for 32 LoRA adapters of one base in one queue, in no order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.cases import Classification, nano
from benchmarks.measure import Equality, Measurement, Ratio, Side, in_turn, seconds_of, timed
from benchmarks.peers.peft_switching import Switching
from luthier.engine import injected
from luthier.models.adaptation import Adaptation, Adapter
from luthier.models.backend import ScoreRequest
from luthier.training.peft_config import adapter_config

ADAPTERS, RANK = 32, 8
CASE = Classification(shared=20, inputs=128, input_tokens=40, labels=8)


def queue(*, rounds: int = 3) -> Sequence[Measurement]:
    """Four inputs an adapter, shuffled; the peer switches as is fastest on the first queue."""
    backend = nano()
    adapters = [random_lora(k) for k in range(ADAPTERS)]
    adaptations = [Adaptation(adapter=a) for a in adapters]
    order = [k % ADAPTERS for k in range(CASE.inputs)]
    random.Random(0).shuffle(order)
    queues: list[list[tuple[ScoreRequest, int]]] = [
        list(zip(CASE.requests(backend.tokenizer, seed=k), order, strict=True))
        for k in range(rounds)
    ]
    peers = [
        Switching(backend.module, backend.tokenizer, adapters, rows=rows, together=together)
        for rows, together in ((1, False), (4, False), (4, True), (16, True))
    ]
    tried: dict[str, Any] = {}
    for peer in peers:
        name = peer.settings["switching"]
        try:
            peer.score(queues[0][:16])
            tried[name] = timed(lambda p=peer: p.score(queues[0]))[0]
        except ValueError as error:  # this base cannot be served so
            tried[name] = str(error)
    able = [p for p in peers if isinstance(tried[p.settings["switching"]], float)]
    fastest = min(able, key=lambda p: tried[p.settings["switching"]])
    backend.score_mixed([(r, adaptations[k]) for r, k in queues[0][:16]])
    mine, theirs = in_turn(
        lambda k: backend.score_mixed([(r, adaptations[a]) for r, a in queues[k]]),
        lambda k: fastest.score(queues[k]),
        rounds=rounds,
    )
    gap = max(
        abs(a - b)
        for ours, expected in zip(mine[0][1], theirs[0][1], strict=True)
        for a, b in zip(ours.logprobs, expected, strict=True)
    )
    return [
        Ratio(
            job="32 adaptations mixed in one queue",
            peer_name="PEFT, all adapters loaded",
            unit="request",
            must_be=5.0,
            ours=Side(seconds_of(mine), CASE.inputs),
            peer=Side(
                seconds_of(theirs),
                CASE.inputs,
                settings=fastest.settings,
                notes={"seconds_of_the_first_queue": tried},
            ),
            equality=Equality("log-probabilities of the labels, nats", gap, 2e-3),
            setting={
                "model": backend.name,
                "adapters": ADAPTERS,
                "rank": RANK,
                "target_modules": "all-linear",
                "prompt_tokens": CASE.shared + CASE.input_tokens,
                "labels": CASE.labels,
                "label_tokens": CASE.label_tokens,
            },
        )
    ]


def random_lora(seed: int) -> Adapter:
    """An adapter as a fit would leave it, with random weights: what they say costs no time."""
    import peft

    lora_config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"
    )
    config = adapter_config(lora_config)
    generator = torch.Generator().manual_seed(seed)
    with injected(nano().module, Adapter(config, {})) as wrapped:
        shapes = {k: t.shape for k, t in peft.get_peft_model_state_dict(wrapped).items()}
    return Adapter(
        config, {k: 0.02 * torch.randn(s, generator=generator) for k, s in shapes.items()}
    )
