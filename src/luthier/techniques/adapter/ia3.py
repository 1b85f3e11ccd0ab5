"""IA3: learnt scales on keys, values and feed-forward activations (Liu et al. 2022,
arXiv:2205.05638).

A scaled activation x (width,) becomes l ⊙ x with l (width,) all ones at the start (section 3.3
there): l_k on the keys, l_v on the values, l_ff on the inner activations of the feed-forward layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.models.model import Model
from luthier.records import Budget, Capability
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of


@dataclass(frozen=True)
class IA3(Technique):
    """Learnt scales: trains one number for each activation that it scales, and nothing else.

    **Settings**

    - `target_modules`: the layers whose outputs are scaled; None takes PEFT's choice for the
      architecture, or the usual names of keys, values and the second feed-forward matrix.
    - `feedforward_modules`: those of them whose inputs are scaled instead of their outputs.
    - `learning_rates`: those that are tried; the one with the best dev score is trained to the end.
    - `batch_size`: rows a step, 16 by default.
    - `prompt`: "bare" (default) trains without the instruction, so that requests are shorter;
      "task" trains under the task's own prompt.
    """

    target_modules: tuple[str, ...] | None = None
    feedforward_modules: tuple[str, ...] | None = None
    learning_rates: tuple[float, ...] = (5e-3, 2e-2)
    batch_size: int = 16
    prompt: str = "bare"

    name: ClassVar[str] = "ia3"
    family: ClassVar[str] = "adapter"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(gradients=True, fit_speed=0.4)
    card: ClassVar[Card] = Card(
        changes="scales keys, values and feed-forward activations by learnt vectors",
        needs="gradients; works from few examples",
        pays_when="the adapter must be tiny and the base is nearly there already",
        costs="a few kilobytes; merges into the weights; weaker than LoRA on new skills",
        source="Liu et al. 2022 (T-Few), arXiv:2205.05638",
    )

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Passes over the training examples that the tokens buy, roughly."""
        from luthier.training.fit import STEPS_WORTH_SEARCHING
        from luthier.training.passes import RateSearch, planned_passes
        from luthier.training.trainable import FROZEN_BASE

        search = RateSearch(len(self.learning_rates), self.batch_size, STEPS_WORTH_SEARCHING)
        return planned_passes(
            model, task, tokens, cost_factor=FROZEN_BASE, style=self.prompt, search=search
        )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the scales; the base is not written to."""
        check_needs(self, model)
        from luthier.training.adapter_fit import AdapterPlan, fit_adapter
        from luthier.training.objectives import LanguageModelLoss
        from luthier.training.peft_config import has_transposed_weights

        def config(module: Any) -> Any:
            import peft

            named: dict[str, Any] = {}
            if self.target_modules is not None:
                named["target_modules"] = list(self.target_modules)
                named["feedforward_modules"] = list(self.feedforward_modules or ())
            elif module.config.model_type not in _known_architectures():
                named = _by_shape(module)
            return peft.IA3Config(
                task_type="SEQ_2_SEQ_LM" if module.config.is_encoder_decoder else "CAUSAL_LM",
                fan_in_fan_out=has_transposed_weights(module),
                **named,
            )

        plan = AdapterPlan(self.name, settings_of(self), LanguageModelLoss(), config)
        return fit_adapter(model, task, plan, budget=budget, seed=seed)


def _known_architectures() -> set[str]:
    """The architectures for which PEFT has a choice of layers."""
    from peft.utils.constants import (
        TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
        TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
    )

    both = set(TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING)
    return both & set(TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING)


def _by_shape(module: Any) -> dict[str, Any]:
    """Keys, values and the second feed-forward matrix under their usual names."""
    names = {name.rsplit(".", 1)[-1] for name, _ in module.named_modules()}
    scaled = [n for n in ("k_proj", "v_proj", "down_proj", "fc2", "wo") if n in names]
    forward = [n for n in scaled if n in ("down_proj", "fc2", "wo")]
    return {"target_modules": scaled, "feedforward_modules": forward}
