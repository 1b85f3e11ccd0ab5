"""Full fine-tuning: every weight of a copy of the base trains; the copy is a fork with a lineage.

θ' = argmin_θ −Σ log p_θ(y | x) over the training examples, from the base's weights θ on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of


@dataclass(frozen=True)
class FullFineTuning(Technique):
    """Trains every weight of a copy of the base.

    **Settings**

    - `learning_rates`: those that are tried; the one with the best dev score is trained to the end.
      The defaults suit small bases; give smaller ones (1e-5 … 5e-5) for billions of weights.
    - `batch_size`: rows a step, 4 by default.
    - `weight_decay`: that of AdamW, 0.01 by default: the share of a weight, times the learning
      rate, that each step takes away.
    - `prompt`: "bare" (default) trains without the instruction, so that requests are shorter;
      "task" trains under the task's own prompt.
    """

    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    batch_size: int = 4
    weight_decay: float = 0.01
    prompt: str = "bare"

    name: ClassVar[str] = "full"
    family: ClassVar[str] = "weights"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(gradients=True, copies_weights=True, fit_speed=0.4)
    card: ClassVar[Card] = Card(
        changes="every weight, in a fork of the base",
        needs="gradients, optimiser memory of several times the model, and the most examples",
        pays_when="one task, much data, and the last points count",
        costs="a whole checkpoint per task; forgets what the base knew elsewhere",
        source="the baseline of Lester et al. 2021, arXiv:2104.08691",
    )

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Passes over the training examples that the tokens buy, roughly."""
        from luthier.training.fit import SMALL_STEPS_WORTH_SEARCHING
        from luthier.training.passes import RateSearch, planned_passes
        from luthier.training.trainable import TRAINED_WEIGHTS

        search = RateSearch(len(self.learning_rates), self.batch_size, SMALL_STEPS_WORTH_SEARCHING)
        return planned_passes(
            model, task, tokens, cost_factor=TRAINED_WEIGHTS, style=self.prompt, search=search
        )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train a copy; the base is not written to."""
        check_needs(self, model)
        import copy
        from dataclasses import replace

        from luthier.models.adaptation import Weights
        from luthier.training.fit import (
            SMALL_STEPS_WORTH_SEARCHING,
            TrainingSettings,
            budget_tokens,
            fit,
        )
        from luthier.training.objectives import LanguageModelLoss
        from luthier.training.parameters import WeightParameters
        from luthier.training.sequential_trials import SequentialTrials
        from luthier.training.starting_prompt import starting_model
        from luthier.training.trainable import TRAINED_WEIGHTS

        backend = model.backend
        if model.adaptation.adapter is not None:
            raise TechniqueError(
                "full trains the weights, and this model carries an adapter over them",
                next_step="Run full first and the adapter after it: 'full -> lora'.",
            )
        start = starting_model(model, task, style=self.prompt)
        tokens = budget_tokens(budget, backend)
        with backend.session(start.adaptation) as of_base:
            fork = copy.deepcopy(of_base.module)
            session = replace(of_base, module=fork)
            parameters = WeightParameters(fork)
            result = fit(
                start,
                task,
                trainable=SequentialTrials(session, [parameters], cost_factor=TRAINED_WEIGHTS),
                objective=LanguageModelLoss(),
                settings=TrainingSettings(
                    tokens,
                    tuple(self.learning_rates),
                    self.batch_size,
                    weight_decay=self.weight_decay,
                    search_from=SMALL_STEPS_WORTH_SEARCHING,
                ),
                seed=seed,
            )
            weights = Weights(parameters.state())
        lineage = Lineage(
            self.name, settings_of(self), seed, result.record, model.lineage, task.example_hashes
        )
        return start.adapt(weights=weights, lineage=lineage)
