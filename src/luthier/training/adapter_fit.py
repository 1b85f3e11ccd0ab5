"""Training an adapter that the `peft` library makes: LoRA, IA3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from luthier.errors import TechniqueError
from luthier.models.adaptation import Adapter
from luthier.models.model import Model
from luthier.records import Budget, Lineage
from luthier.task.task import Task
from luthier.training.fit import STEPS_WORTH_SEARCHING, TrainingSettings, budget_tokens, fit
from luthier.training.objectives import Objective
from luthier.training.sequential_trials import SequentialTrials
from luthier.training.starting_prompt import starting_model
from luthier.training.trainable import FROZEN_BASE, State


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """How an adapter technique trains.

    **Fields**

    - `name`, `settings`: the technique's own; of the settings `learning_rates`, `batch_size` and
      `prompt` are read here.
    - `objective`: what the adapter is trained for.
    - `config`: makes the PEFT configuration from the base module.
    - `search_from`: as in `TrainingSettings`.
    """

    name: str
    settings: Mapping[str, Any]
    objective: Objective
    config: Callable[[Any], Any]
    search_from: int = STEPS_WORTH_SEARCHING


def fit_adapter(model: Model, task: Task, plan: AdapterPlan, *, budget: Budget, seed: int) -> Model:
    """Inject a fresh adapter, train it, and return the model that carries it, with its lineage."""
    backend, settings = model.backend, plan.settings
    require_free_adapter_slot(model, plan.name)
    start = starting_model(model, task, style=settings["prompt"])
    tokens = budget_tokens(budget, backend)
    with backend.session(replace(start.adaptation, adapter=None)) as base:
        config = adapter_config(plan.config(base.module))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adaptation = replace(start.adaptation, adapter=Adapter(config, {}))
        with backend.session(adaptation) as session:
            parameters = AdapterParameters(session.peft)
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
            )
            tensors = parameters.state()
    lineage = Lineage(plan.name, settings, seed, result.record, model.lineage, task.example_hashes)
    return start.adapt(adapter=Adapter(config, tensors), lineage=lineage)


def require_free_adapter_slot(model: Model, name: str) -> None:
    """TechniqueError for a model that carries an adapter already; `name` is the technique's."""
    if model.adaptation.adapter is not None:
        raise TechniqueError(
            f"{name} needs the adapter slot, and this model has an adapter already",
            next_step="Fit it on the model before that adapter was made.",
        )


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


def adapter_config(config: Any) -> Mapping[str, Any]:
    """A PEFT configuration as it stands in adapter_config.json."""
    plain = {k: v for k, v in config.to_dict().items() if v is not None}
    for key, value in plain.items():
        if isinstance(value, set):
            plain[key] = sorted(value)
        elif hasattr(value, "value"):
            plain[key] = value.value
    return plain


def has_transposed_weights(module: Any) -> bool:
    """Whether the base keeps its weights as (in, out), as GPT-2 does."""
    return any(type(m).__name__ == "Conv1D" for m in module.modules())
