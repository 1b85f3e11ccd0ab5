"""Training an adapter that the `peft` library makes: LoRA, IA3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from luthier.errors import TechniqueError
from luthier.models.adaptation import Adapter
from luthier.models.model import Model
from luthier.records import Budget, Example, Lineage
from luthier.task.task import Task
from luthier.training.dev_gate import DevScore, by_asking, by_its_answers
from luthier.training.fit import STEPS_WORTH_SEARCHING, TrainingSettings, budget_tokens, fit
from luthier.training.health import HealthLimits, HealthMonitor
from luthier.training.loop import EVALUATIONS
from luthier.training.objectives import Objective
from luthier.training.peft_config import adapter_config
from luthier.training.policy import Policy
from luthier.training.sequential_trials import SequentialTrials
from luthier.training.starting_prompt import starting_model
from luthier.training.trainable import FROZEN_BASE, State

GATES = EVALUATIONS + 2  # the start, each evaluation, and what comes out of a search
GATE_SHARE = 1 / 4  # of the tokens, for answers by which a fit is watched
GUARDED_SHARE = 1 / 8  # of the tokens, for the dev examples of a task that the model had before
TOKENS_SEEN = 4  # times a token of such an answer is computed: sampled, read twice, a reserve
FEWEST_ASKED = 4


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """How an adapter technique trains.

    **Fields**

    - `name`, `settings`: the technique's own; of the settings `learning_rates`, `batch_size` and
      `prompt` are read here.
    - `objective`: what the adapter is trained for.
    - `config`: makes the PEFT configuration from the base module.
    - `search_from`: as in `TrainingSettings`.
    - `goes_on`: where the model carries an adapter already, that one trains on.
    - `health`: how an answering model is watched while it trains; None: not at all.
    - `guarded`: a task that the model had before, whose dev score must not fall; None: the dev
      score that is watched is that of the task it trains on.
    """

    name: str
    settings: Mapping[str, Any]
    objective: Objective
    config: Callable[[Any], Any]
    search_from: int = STEPS_WORTH_SEARCHING
    goes_on: bool = False
    health: HealthLimits | None = None
    guarded: Task | None = None


def fit_adapter(model: Model, task: Task, plan: AdapterPlan, *, budget: Budget, seed: int) -> Model:
    """Inject a fresh adapter, train it, and return the model that carries it, with its lineage."""
    backend, settings = model.backend, plan.settings
    own = model.adaptation.adapter
    if own is not None and not plan.goes_on:
        require_free_adapter_slot(model, plan.name)
    start = starting_model(model, task, style=settings["prompt"])
    tokens = budget_tokens(budget, backend)
    if own is not None:
        config = own.config
    else:
        with backend.session(replace(start.adaptation, adapter=None)) as base:
            config = adapter_config(plan.config(base.module))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adaptation = replace(start.adaptation, adapter=Adapter(config, {}))
        with backend.session(adaptation) as session:
            parameters = AdapterParameters(session.peft)
            if own is not None:
                parameters.load(own.tensors)
            policy = Policy(start, session, parameters)
            monitor = health_monitor(
                policy, task, plan.health, guarded=plan.guarded, tokens=tokens, seed=seed
            )
            if monitor is not None:
                tokens -= monitor.spent * GATES
            result = fit(
                start,
                task,
                trainable=SequentialTrials(session, [parameters], cost_factor=FROZEN_BASE),
                objective=plan.objective,
                settings=TrainingSettings(
                    tokens,
                    tuple(settings["learning_rates"]),
                    settings["batch_size"],
                    search_from=plan.search_from,
                ),
                seed=seed,
                health=None if monitor is None else lambda trial: monitor.problem(),
            )
            tensors = parameters.state()
    record = result.record
    if monitor is not None:
        spent = (record.spent_tokens or 0) + monitor.spent
        record = replace(record, spent_tokens=spent)
    lineage = Lineage(plan.name, settings, seed, record, model.lineage, task.example_hashes)
    return start.adapt(adapter=Adapter(config, tensors), lineage=lineage)


def require_free_adapter_slot(model: Model, name: str) -> None:
    """TechniqueError for a model that carries an adapter already; `name` is the technique's."""
    if model.adaptation.adapter is not None:
        raise TechniqueError(
            f"{name} needs the adapter slot, and this model has an adapter already",
            next_step="Fit it on the model before that adapter was made.",
        )


def health_monitor(
    policy: Policy, task: Task, limits: HealthLimits | None, *,
    guarded: Task | None, tokens: int, seed: int,
) -> HealthMonitor | None:  # fmt: skip
    """What watches a fit of so many tokens: it answers dev examples as the model would, at the
    start and at each evaluation. None where nobody watches."""
    if limits is None or policy.model.adaptation.decoding.labels:
        return None
    limits = affordable_limits(policy, task.dev, limits, tokens=tokens)
    if not limits.prompts:
        return None
    dev_score = dev_gate(policy, task, guarded, tokens=tokens)
    return HealthMonitor(policy, task.dev, limits, seed=seed, dev_score=dev_score)


def dev_gate(
    policy: Policy, task: Task, guarded: Task | None, *, tokens: int
) -> DevScore | None:  # fmt: skip
    """The dev score that a fit of so many tokens is watched by: that of the guarded task where
    there is one, else of the answers to the task's own examples."""
    if guarded is None:
        return by_its_answers(task)
    return by_asking(policy, guarded, tokens=int(tokens * GUARDED_SHARE / GATES))


def affordable_limits(
    policy: Policy, examples: Sequence[Example], limits: HealthLimits, *, tokens: int
) -> HealthLimits:
    """The limits with as many prompts as a quarter of the tokens answers at every evaluation; none
    where that is less than four."""
    some = list(examples[: limits.prompts])
    if not some:
        return replace(limits, prompts=0)
    rows = policy.rows(some, [e.target or e.rejected or " " for e in some])
    each = TOKENS_SEEN * sum(row.tokens for row in rows) / len(rows)
    prompts = int(tokens * GATE_SHARE / (each * GATES))
    return replace(limits, prompts=min(limits.prompts, prompts) if prompts >= FEWEST_ASKED else 0)


class AdapterParameters:
    """What PEFT left trainable in a wrapped model."""

    def __init__(self, peft_model: Any) -> None:
        self.peft_model = peft_model

    def parameters(self) -> list[torch.nn.Parameter]:
        """Those with gradients."""
        return [p for p in self.peft_model.parameters() if p.requires_grad]

    def soft(self) -> None:
        """An adapter makes no virtual tokens."""
        return

    def state(self) -> State:
        """As in adapter_model.safetensors."""
        import peft

        found = peft.get_peft_model_state_dict(self.peft_model)
        return {k: v.detach().cpu().clone() for k, v in found.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put it back."""
        import peft

        peft.set_peft_model_state_dict(self.peft_model, dict(state))
