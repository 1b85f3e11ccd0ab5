"""Classification by label log-probability against the lm-eval harness, and the floor beneath it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks.cases import Classification, llama_135m
from benchmarks.machine import matmul_peak
from benchmarks.measure import Equality, Measurement, Ratio, Share, Side, in_turn, seconds_of
from benchmarks.operations import scoring_operations
from luthier.engine import LocalBackend
from luthier.models.adaptation import Adaptation

FEW_SHOT = Classification(shared=600, inputs=200, input_tokens=40, labels=10)
ZERO_SHOT = Classification(shared=20, inputs=24, input_tokens=40, labels=10)
# Scores of the two sides differ by rounding, which a batch's shape decides.
TOLERANCE = {torch.bfloat16: 0.1, torch.float32: 1e-3}
# Of 1, 2, 5 and 10 rows a batch the harness took 47, 45, 47 and 50 s for one few-shot input.
ROWS = 2


def few_shot() -> Sequence[Measurement]:
    """600 shared tokens; a round gives the harness one of the 200 inputs, and seconds an input
    compare."""
    return _against_harness("few-shot classification", FEW_SHOT, peer_inputs=1, must_be=40.0)


def zero_shot() -> Sequence[Measurement]:
    """A short instruction, the same inputs on both sides."""
    return _against_harness("zero-shot classification", ZERO_SHOT, peer_inputs=24, must_be=4.0)


def _against_harness(
    name: str, case: Classification, *, peer_inputs: int, must_be: float, rounds: int = 3
) -> list[Measurement]:
    from benchmarks.peers.lm_eval_hf import Harness

    backend = llama_135m()
    module, tokenizer = backend.module, backend.tokenizer
    # Fresh texts each round: nothing that a side keeps between calls can help it.
    rounds_of = [case.requests(tokenizer, seed=k) for k in range(rounds)]
    trial = replace(case, inputs=1).requests(tokenizer, seed=99)
    harness = Harness(module, tokenizer, rows=ROWS)
    backend.score(trial, Adaptation())
    peaks = [matmul_peak(backend.module.dtype)]
    ours, theirs = in_turn(
        lambda k: backend.score(rounds_of[k], Adaptation()),
        lambda k: harness.score(rounds_of[k][:peer_inputs]),
        rounds=rounds,
    )
    peaks.append(matmul_peak(backend.module.dtype))
    exact = Harness(module, tokenizer, rows=ROWS, exact=True).score(rounds_of[0][:1])
    gap = max(abs(a - b) for a, b in zip(ours[0][1][0].logprobs, exact[0], strict=True))
    seconds = seconds_of(ours)
    ratio = Ratio(
        job=name,
        peer_name="lm-eval harness, HF backend",
        unit="input",
        must_be=must_be,
        ours=Side(seconds, case.inputs, notes={"distinct_tokens": case.distinct_tokens}),
        peer=Side(
            seconds_of(theirs),
            peer_inputs,
            settings=harness.settings,
            notes={"peer_inputs": peer_inputs, "tokens_an_input": case.full_tokens / case.inputs},
        ),
        equality=Equality("log-probabilities of the labels, nats", gap, TOLERANCE[module.dtype]),
        setting=_setting(case, backend),
    )
    operations = scoring_operations(backend.module.config, case)
    peak = max(peaks)
    share = Share(
        job=f"share of matmul peak, {name}",
        kind="share of peak",
        value=operations / min(seconds) / peak,
        must_be=0.6,
        setting={
            "operations": operations,
            "peak_operations_a_second": peak,
            "seconds": min(seconds),
            **_setting(case, backend),
        },
    )
    return [ratio, share]


def _setting(case: Classification, backend: LocalBackend) -> dict[str, Any]:
    return {
        "model": backend.name,
        "dtype": str(backend.module.dtype).removeprefix("torch."),
        "shared_tokens": case.shared,
        "inputs": case.inputs,
        "input_tokens": case.input_tokens,
        "labels": case.labels,
        "label_tokens": case.label_tokens,
    }
