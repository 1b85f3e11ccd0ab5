"""Training an adapter that the `peft` library makes: LoRA, IA3, prefix tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from luthier.errors import TechniqueError
from luthier.models.adaptation import Adapter
from luthier.models.local.session import Session
from luthier.models.model import Model
from luthier.records import Budget, FitRecord
from luthier.task.task import Task
from luthier.training.fit import Settings, fit
from luthier.training.start import PromptStyle, budget_tokens, local_backend, starting
from luthier.training.trainable import AdapterParameters


def fit_adapter(
    model: Model, task: Task, *, name: str, config: Callable[[Any], Any], settings: Settings,
    budget: Budget, seed: int, prompt: PromptStyle, prepare: Callable[[Session], None] | None =
    None,
) -> tuple[Model, FitRecord]:  # fmt: skip
    """Inject a fresh adapter, train it, and return the model that carries it.

    `config` makes the PEFT configuration from the base module. `prepare` may set initial weights.
    """
    backend = local_backend(model, name)
    if model.adaptation.adapter is not None:
        raise TechniqueError(
            f"{name} needs the adapter slot, and this model has an adapter already",
            next_step="Fit it on the model before that adapter was made.",
        )
    ready = starting(model, task, prompt)
    tokens = budget_tokens(budget, backend)
    made = config(backend.module)
    plain = adapter_config(made)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        adaptation = replace(ready.adaptation, adapter=Adapter(plain, {}))
        with backend.session(adaptation) as session:
            if prepare is not None:
                prepare(session)
            trainable = AdapterParameters(session.peft)
            record = fit(
                ready,
                task,
                session_of=lambda: session,
                trainable=trainable,
                settings=settings,
                tokens=tokens,
                seed=seed,
            )
            tensors = trainable.state()
    return ready.adapt(adapter=Adapter(plain, tensors)), record


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
