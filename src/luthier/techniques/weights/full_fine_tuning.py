"""Full fine-tuning: every weight of a copy of the base trains; the copy is a fork with a
lineage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of


@dataclass(frozen=True)
class Full(Technique):
    """The rates suit small bases; give smaller ones (1e-5 … 5e-5) for billions of weights."""

    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    batch_size: int = 4
    weight_decay: float = 0.01
    prompt: str = "bare"

    name: ClassVar[str] = "full"
    family: ClassVar[str] = "weights"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(gradients=True, copies_weights=True)
    card: ClassVar[Card] = Card(
        changes="every weight, in a fork of the base",
        needs="gradients, optimiser memory of several times the model, and the most examples",
        pays_when="one task, much data, and the last points count",
        costs="a whole checkpoint per task; forgets what the base knew elsewhere",
        source="the baseline of Lester et al. 2021, arXiv:2104.08691",
    )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train a copy; the base is not written to."""
        check_needs(self, model)
        import copy
        from dataclasses import replace

        from luthier.models.adaptation import Weights
        from luthier.training.fit import SMALL_STEPS_WORTH_SEARCHING, Settings, fit
        from luthier.training.parameters import TRAINED_WEIGHTS, AllParameters
        from luthier.training.preparation import budget_tokens, starting, style_of
        from luthier.training.sequential_trials import SequentialTrials

        backend = model.backend
        if model.adaptation.adapter is not None:
            raise TechniqueError(
                "full trains the weights, and this model carries an adapter over them",
                next_step="Run full first and the adapter after it: 'full -> lora'.",
            )
        ready = starting(model, task, style_of(self.prompt))
        tokens = budget_tokens(budget, backend)
        with backend.session(ready.adaptation) as opened:
            fork = copy.deepcopy(opened.module)
            session = replace(opened, module=fork)
            trial_parameters = AllParameters(fork)
            fitted = fit(
                ready,
                task,
                session=session,
                trainable=SequentialTrials(session, [trial_parameters], factor=TRAINED_WEIGHTS),
                settings=Settings(
                    tuple(self.learning_rates),
                    self.batch_size,
                    self.weight_decay,
                    search_from=SMALL_STEPS_WORTH_SEARCHING,
                ),
                tokens=tokens,
                seed=seed,
            )
            weights = Weights(trial_parameters.state())
        lineage = Lineage(self.name, settings_of(self), seed, fitted.record, model.lineage)
        return ready.adapt(weights=weights, lineage=lineage)
