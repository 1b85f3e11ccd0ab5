"""Proximal policy optimisation against a reward model that learns the task's preferences."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from luthier.models.model import Model
from luthier.records import Budget, FitRecord, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, check_needs, settings_of
from luthier.techniques.preference.answer_tuning import PreferenceTuning
from luthier.techniques.preference.lora_settings import lora_config
from luthier.techniques.setting_checks import check_number, check_whole_numbers

REWARD_SHARE = 0.3  # of the tokens, for the reward model and for a second one at the gates


@dataclass(frozen=True)
class PPO(PreferenceTuning):
    """Samples answers, scores them with a reward model, and steps towards the better ones.

    **Settings**

    - `learning_rate`: of the adapter.
    - `beta`: what a nat away from the starting model costs.
    - `prompts`, `samples`: prompts an iteration, and answers to each.
    - `baseline`: "value" (PPO with a value head) or "leave-one-out" (RLOO).
    - `rank`: of the LoRA, where the model carries none yet; else its own adapter goes on.
    - `prompt`: "task" (default) trains under the task's prompt, "bare" without its instruction.
    - `gates`: watch the answers while training, and go back to the last good state on collapse.
    """

    learning_rate: float = 3e-4
    beta: float = 0.05
    prompts: int = 8
    samples: int = 4
    baseline: Literal["value", "leave-one-out"] = "value"
    rank: int = 8
    prompt: str = "task"
    gates: bool = True

    name: ClassVar[str] = "ppo"
    footprint: ClassVar[Footprint] = Footprint(gradients=True, copies_weights=True)
    card: ClassVar[Card] = Card(
        changes="an adapter, towards what a reward model likes, held to the start by a KL price",
        needs="gradients, pairs of a better and a worse answer, and the most computing",
        pays_when="rejection sampling has stopped getting better",
        costs="answers sampled at every step, a second copy of the base; it collapses most often",
        source="Schulman et al. 2017, arXiv:1707.06347; Touvron et al. 2023, arXiv:2307.09288",
    )

    def __post_init__(self) -> None:
        check_number(self, "beta", least=0)
        check_whole_numbers(self, prompts=1, samples=1)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train two reward models (one trains, one watches) and then the adapter."""
        check_needs(self, model)
        from luthier.training.fit import budget_tokens
        from luthier.training.reward_training import RewardPair, RewardSettings, train_reward
        from luthier.training.starting_prompt import starting_model

        started = time.perf_counter()
        start = starting_model(model, task, style=self.prompt)
        tokens = budget_tokens(budget, model.backend)
        pairs = [RewardPair(e) for e in task.train if e.target and e.rejected]
        share = int(tokens * REWARD_SHARE / 2)
        reward, spent = train_reward(start, pairs, RewardSettings(share, epochs=2), seed=seed)
        watched = [RewardPair(e) for e in task.dev if e.target and e.rejected]
        watch, spent_too = train_reward(
            start, watched or pairs, RewardSettings(share, epochs=4), seed=seed + 1
        )
        left = tokens - spent - spent_too
        with reward.opened() as trains, watch.opened() as watches:
            adapted, record = self.improve(
                start, task, trains, tokens=left, seed=seed, watches=watches
            )
        record = replace(
            record,
            fit_seconds=time.perf_counter() - started,
            spent_tokens=(record.spent_tokens or 0) + spent + spent_too,
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return adapted.adapt(lineage=lineage)

    def improve(
        self, model: Model, task: Task, reward: object, *, tokens: int, seed: int,
        watches: object | None = None, guarded: Task | None = None,
    ) -> tuple[Model, FitRecord]:  # fmt: skip
        """The model improved against a reward, and what the fit did; without a lineage. The dev
        score of a `guarded` task, which the model had before, must not fall."""
        import torch

        from luthier.models.adaptation import Adapter
        from luthier.training.adapter_fit import AdapterParameters, dev_gate
        from luthier.training.health import HealthLimits, HealthMonitor
        from luthier.training.peft_config import adapter_config
        from luthier.training.policy import Policy
        from luthier.training.ppo import PPOSettings, run_ppo

        own = model.adaptation.adapter
        if own is not None:
            config = own.config
        else:
            with model.backend.session(replace(model.adaptation, adapter=None)) as base:
                config = adapter_config(lora_config(base.module, rank=self.rank))
        settings = PPOSettings(
            tokens, self.learning_rate, self.prompts, self.samples, beta=self.beta,
            baseline=self.baseline,
        )  # fmt: skip
        gate_examples = task.dev if self.gates else ()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            adaptation = replace(model.adaptation, adapter=Adapter(config, {}))
            with model.backend.session(adaptation) as session:
                parameters = AdapterParameters(session.peft)
                if own is not None:
                    parameters.load(own.tensors)
                policy = Policy(model, session, parameters)
                monitor = HealthMonitor(
                    policy, gate_examples, HealthLimits(prompts=8), seed=seed,
                    reward=watches,  # type: ignore[arg-type]
                    dev_score=dev_gate(policy, task, guarded, tokens=tokens),
                )  # fmt: skip
                prompts = list({e.text: e for e in task.train}.values())
                done = run_ppo(
                    policy, prompts, reward, settings=settings, monitor=monitor, seed=seed  # type: ignore[arg-type]
                )  # fmt: skip
                tensors = parameters.state()
                trained = sum(p.numel() for p in parameters.parameters())
        notes = (f"Stopped at the last good state: {done.collapse}.",) if done.collapse else ()
        record = FitRecord(
            spent_tokens=done.spent + monitor.spent,
            trainable_parameters=trained,
            train_examples=len(task.train),
            dev_score=done.rewards[-1] if done.rewards else None,
            history=tuple(done.history),
            settled={"iterations": done.iterations, "kl": done.kl[-1] if done.kl else None},
            notes=notes,
        )
        return model.adapt(adapter=Adapter(config, tensors)), record
