"""Training an adapter that the `peft` library makes: LoRA, IA3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from luthier.models.adaptation import Adapter
from luthier.models.model import Model
from luthier.records import Budget, Lineage
from luthier.task.task import Task
from luthier.training.fit import STEPS_WORTH_SEARCHING, Settings, fit
from luthier.training.parameters import FROZEN_BASE, AdapterParameters
from luthier.training.preparation import (
    budget_tokens,
    free_adapter_slot,
    starting,
    style_of,
)
from luthier.training.sequential_trials import SequentialTrials


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """What an adapter technique says of itself: its name and settings (of which `learning_rates`,
    `batch_size` and `prompt` are read here), how the PEFT configuration is made from the base
    module, and how many steps for each learning rate are worth a search."""

    name: str
    settings: Mapping[str, Any]
    config: Callable[[Any], Any]
    search_from: int = STEPS_WORTH_SEARCHING


def fit_adapter(model: Model, task: Task, plan: AdapterPlan, *, budget: Budget, seed: int) -> Model:
    """Inject a fresh adapter, train it, and return the model that carries it, with its lineage."""
    backend = model.backend
    free_adapter_slot(model, plan.name)
    ready = starting(model, task, style_of(plan.settings["prompt"]))
    tokens = budget_tokens(budget, backend)
    with backend.session(replace(ready.adaptation, adapter=None)) as base:
        config = adapter_config(plan.config(base.module))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adaptation = replace(ready.adaptation, adapter=Adapter(config, {}))
        with backend.session(adaptation) as session:
            trial_parameters = AdapterParameters(session.peft)
            fitted = fit(
                ready,
                task,
                session=session,
                trainable=SequentialTrials(session, [trial_parameters], factor=FROZEN_BASE),
                settings=Settings(
                    tuple(plan.settings["learning_rates"]),
                    plan.settings["batch_size"],
                    search_from=plan.search_from,
                ),
                tokens=tokens,
                seed=seed,
            )
            tensors = trial_parameters.state()
    lineage = Lineage(plan.name, plan.settings, seed, fitted.record, model.lineage)
    return ready.adapt(adapter=Adapter(config, tensors), lineage=lineage)


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
