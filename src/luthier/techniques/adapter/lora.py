"""LoRA: low-rank updates beside the frozen weights (Hu et al. 2021, arXiv:2106.09685).

h = W x + (α / r) B A x (section 4.1), with A (r, in) random and B (out, r) zero at the start, x
(in,) and h (out,). Only A and B train.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.models.model import Model
from luthier.records import Budget, Capability
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.setting_checks import check_whole_numbers


@dataclass(frozen=True)
class LoRA(Technique):
    """Low-rank adaptation: trains two thin matrices beside every linear layer.

    **Settings**

    - `rank`: r, the width of the two matrices, 8 by default. The number of trained parameters
      grows with it.
    - `alpha`: the update is scaled by alpha / r; None means 2r.
    - `target_modules`: which layers get an update, as PEFT takes them: "all-linear" by default, or
      a tuple of names such as ("q_proj", "v_proj").
    - `rslora`: scale by alpha / √r instead (Kalajdzievski 2023, arXiv:2312.03732, section 3), so
      that a large rank learns as fast as a small one.
    - `dora`: train the length of every column of the weights apart from its direction, which the
      two matrices change (Liu et al. 2024, arXiv:2402.09353, section 4.1). It costs time, and such
      adapters share no batch with others.
    - `learning_rates`: those that are tried; the one with the best dev score is trained to the end.
    - `batch_size`: rows a step, 2 by default. A budget counts tokens, and a few hundred examples
      are learnt in many small steps or not at all.
    - `prompt`: "bare" (default) trains without the instruction, so that requests are shorter;
      "task" trains under the task's own prompt.
    """

    rank: int = 8
    alpha: int | None = None
    target_modules: str | tuple[str, ...] = "all-linear"
    rslora: bool = False
    dora: bool = False
    learning_rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    batch_size: int = 2
    prompt: str = "bare"

    name: ClassVar[str] = "lora"
    family: ClassVar[str] = "adapter"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(gradients=True, fit_speed=0.3)
    card: ClassVar[Card] = Card(
        changes="adds low-rank matrices beside every linear layer; the base stays",
        needs="gradients, and from about a hundred labelled examples",
        pays_when="the skill must be learnt and not only asked for, and many tasks share one base",
        costs="an artifact of about 1 % of the base; no longer prompt; cannot share a prefix cache "
        "with other adapters",
        source="Hu et al. 2021, arXiv:2106.09685",
    )

    def __post_init__(self) -> None:
        check_whole_numbers(self, rank=1)

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Passes over the training examples that the tokens buy, roughly."""
        from luthier.training.fit import SMALL_STEPS_WORTH_SEARCHING
        from luthier.training.passes import RateSearch, planned_passes
        from luthier.training.trainable import FROZEN_BASE

        search = RateSearch(len(self.learning_rates), self.batch_size, SMALL_STEPS_WORTH_SEARCHING)
        return planned_passes(
            model, task, tokens, cost_factor=FROZEN_BASE, style=self.prompt, search=search
        )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the two factors of every update; the base is not written to."""
        check_needs(self, model)
        from luthier.training.adapter_fit import AdapterPlan, fit_adapter
        from luthier.training.fit import SMALL_STEPS_WORTH_SEARCHING
        from luthier.training.objectives import LanguageModelLoss
        from luthier.training.peft_config import has_transposed_weights

        def config(module: Any) -> Any:
            import peft

            targets = self.target_modules
            return peft.LoraConfig(
                task_type="SEQ_2_SEQ_LM" if module.config.is_encoder_decoder else "CAUSAL_LM",
                r=self.rank,
                lora_alpha=self.alpha if self.alpha is not None else 2 * self.rank,
                target_modules=targets if isinstance(targets, str) else list(targets),
                lora_dropout=0.0,
                use_rslora=self.rslora,
                use_dora=self.dora,
                fan_in_fan_out=has_transposed_weights(module),
            )

        plan = AdapterPlan(
            self.name, settings_of(self), LanguageModelLoss(), config, SMALL_STEPS_WORTH_SEARCHING
        )
        return fit_adapter(model, task, plan, budget=budget, seed=seed)
