"""DPO on pairs, tokens a second, against TRL's DPOTrainer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.cases import nano
from benchmarks.measure import Equality, Ratio, Side, in_turn, seconds_of
from benchmarks.peers import trainer, trl_dpo
from luthier.models.adaptation import Adaptation, Adapter
from luthier.models.model import Model
from luthier.records import Example
from luthier.task.task import Task
from luthier.training.adapter_fit import AdapterParameters
from luthier.training.objectives import DPOLoss
from luthier.training.peft_config import adapter_config
from luthier.training.preference_rows import PreferenceRow
from luthier.training.rows import answer_logprobs, batch_of, batches
from luthier.training.sequential_trials import SequentialTrials
from luthier.training.starting_prompt import starting_model
from luthier.training.trainable import FROZEN_BASE

RANK, RATE, BETA, BATCH = 8, 3e-4, 0.1, 4


def pairs(*, examples: int = 64) -> Sequence[Ratio]:
    """One epoch of steps over messages with two summaries each: a token of a prompt counts for each
    of its answers on both sides, as a trainer that reads the prompt twice counts it.

    The reference of both sides is computed before the clock runs.
    """
    task = Task.load("docstrings")
    model = starting_model(Model(nano()), task.without_test(), style="task")
    some = list(task.train[: examples + 1])
    preferred = [
        Example(a.id, a.input, a.target, rejected=b.target) for a, b in itertools.pairwise(some)
    ]
    with nano().session(_fresh(model)) as session:
        loss = DPOLoss(beta=BETA)
        rows = loss.ready(session, loss.rows(model, session, preferred, virtual_tokens=0))
    known = [row for row in rows if isinstance(row, PreferenceRow)]
    tokens = sum(2 * row.start + sum(map(len, row.answers)) for row in known)
    _ours(model, known[: 2 * BATCH])
    _peer(known[: 2 * BATCH])
    mine, theirs = in_turn(lambda k: _ours(model, known), lambda k: _peer(known), rounds=3)
    return [
        Ratio(
            job="DPO, pairs",
            peer_name="TRL DPOTrainer, reference precomputed",
            unit="token",
            must_be=1.5,
            ours=Side(seconds_of(mine), tokens, settings={"batch_size": BATCH}),
            peer=Side(
                tuple(found.seconds for _, found in theirs), tokens, settings={"batch_size": BATCH}
            ),
            equality=Equality(
                "loss of a batch, prompts shared against prompts read twice",
                _loss_gap(model, known[:BATCH]),
                1e-4,
            ),
            setting={
                "model": nano().name,
                "rank": RANK,
                "pairs": len(known),
                "mean_prompt_tokens": sum(r.start for r in known) / len(known),
                "mean_answer_tokens": sum(len(a) for r in known for a in r.answers)
                / (2 * len(known)),
            },
        )
    ]


def _ours(model: Model, rows: Sequence[PreferenceRow]) -> None:
    torch.manual_seed(0)
    with nano().session(_fresh(model)) as session:
        parameters = AdapterParameters(session.peft)
        trials = SequentialTrials(session, [parameters], cost_factor=FROZEN_BASE)
        objective = DPOLoss(beta=BETA)
        optimiser = torch.optim.AdamW(parameters.parameters(), lr=RATE)
        source = batches(rows, size=BATCH, seed=0)
        for _ in range(len(rows) // BATCH):
            batch = next(source)
            loss = objective.loss(batch, trials.logprobs(batch, [0])[0])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters.parameters(), 1.0)
            optimiser.step()


def _loss_gap(model: Model, rows: Sequence[PreferenceRow]) -> float:
    torch.manual_seed(0)
    with nano().session(_fresh(model)) as session:
        parameters = AdapterParameters(session.peft)
        trials = SequentialTrials(session, [parameters], cost_factor=FROZEN_BASE)
        with torch.no_grad():
            for parameter in parameters.parameters():
                parameter += 0.02 * torch.randn_like(parameter)
            shared = DPOLoss(beta=BETA).loss(rows, trials.logprobs(rows, [0])[0])
            apart = answer_logprobs(session, batch_of(session, rows))
            return abs(float(shared) - float(DPOLoss(beta=BETA).loss(rows, apart)))


def _peer(rows: Sequence[PreferenceRow]) -> trl_dpo.TrainedPairs:
    torch.manual_seed(0)
    return trl_dpo.train(
        trainer.fresh(nano().module, attention="sdpa"), nano().tokenizer, rows,
        rank=RANK, rate=RATE, beta=BETA, batch=BATCH, precompute=True,
    )  # fmt: skip


def _fresh(model: Model) -> Adaptation:
    import peft

    config = adapter_config(
        peft.LoraConfig(
            task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"
        )
    )
    return replace(model.adaptation, adapter=Adapter(config, {}))
