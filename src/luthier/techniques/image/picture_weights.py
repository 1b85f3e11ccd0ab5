"""Full fine-tuning of a model that draws: every weight of a copy of its denoiser trains.

θ' = argmin_θ E w(t) ‖ŷ_θ(x_t, t, c) − y‖² over the pictures, from the base's weights θ on; the
autoencoder and the text encoder stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, check_needs, settings_of
from luthier.techniques.image.from_pictures import FromPictures


@dataclass(frozen=True)
class PictureFullFineTuning(FromPictures):
    """Trains every weight of a copy of the denoiser, from pictures with captions.

    **Settings**

    - `learning_rates`: those that are tried; the one with the best dev score is trained to the end.
      The defaults suit small bases; give smaller ones (1e-5) for hundreds of millions of weights.
    - `batch_size`: pictures a step.
    - `weight_decay`: that of AdamW.
    - `empty`: the share of captions that are left out, for guidance without words.
    """

    learning_rates: tuple[float, ...] = (1e-4, 3e-4)
    batch_size: int = 8
    weight_decay: float = 0.01
    empty: float = 0.1

    name: ClassVar[str] = "picture-full"
    family: ClassVar[str] = "weights"
    cost_factor: ClassVar[int] = 3
    footprint: ClassVar[Footprint] = Footprint(gradients=True, copies_weights=True, fit_speed=1.0)
    card: ClassVar[Card] = Card(
        changes="every weight of the denoiser, in a fork of the base",
        needs="gradients, optimiser memory of several times the denoiser, and many pictures",
        pays_when="there are hundreds of pictures of another kind than the base's",
        costs="a denoiser for each task; from few pictures it forgets the rest",
        source="Rombach et al. 2022, arXiv:2112.10752; DreamBooth: arXiv:2208.12242",
    )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train all weights of a copy; the base is not written to."""
        check_needs(self, model)
        from luthier.models.adaptation import Weights
        from luthier.training.denoising.fit_pictures import DenoisingPlan, fit_pictures, trials_over
        from luthier.training.fit import budget_tokens
        from luthier.training.parameters import WeightParameters
        from luthier.training.starting_prompt import starting_model
        from luthier.training.trainable import TRAINED_WEIGHTS

        if model.adaptation.adapter is not None:
            raise TechniqueError(
                f"{self.name} trains the weights, and this model carries an adapter over them",
                next_step="Run it first and the adapter after it: 'picture-full -> picture-lora'.",
            )
        start = starting_model(model, task)
        backend: Any = model.backend
        plan = DenoisingPlan(
            budget_tokens(budget, backend),
            self.learning_rates,
            self.batch_size,
            TRAINED_WEIGHTS,
            self.weight_decay,
            empty=self.empty,
        )
        own = start.adaptation.weights
        fresh = replace(start.adaptation, weights=own if own is not None else Weights({}))
        with backend.session(fresh) as session:
            parameters = WeightParameters(session.denoiser)
            trials = trials_over(
                session, parameters, plan, defaults=backend.painter, task=task, seed=seed
            )
            result = fit_pictures(start, task, trials=trials, plan=plan, seed=seed)
            weights = Weights(parameters.state())
        lineage = Lineage(
            self.name, settings_of(self), seed, result.record, model.lineage, task.example_hashes
        )
        return start.adapt(weights=weights, lineage=lineage)
