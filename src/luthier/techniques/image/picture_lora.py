"""LoRA on the denoiser of a model that draws (Hu et al. 2021, arXiv:2106.09685, section 4.1).

h = W x + (α / r) B A x in the layers of attention, with A (r, in) random and B (out, r) zero at the
start. Only A and B train, on pictures with captions, for the denoising loss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from luthier.models.model import Model
from luthier.records import Budget, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, check_needs, settings_of
from luthier.techniques.image.from_pictures import FromPictures
from luthier.techniques.setting_checks import check_whole_numbers

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class PictureLoRA(FromPictures):
    """Low-rank adaptation of a denoiser, from pictures with captions.

    **Settings**

    - `rank`: r, the width of the two matrices, 8 by default.
    - `alpha`: the update is scaled by alpha / r; None means 2r.
    - `target_modules`: names of the layers that get an update; by default the projections of
      attention, to the picture and to the words.
    - `learning_rates`: those that are tried; the one with the best dev score is trained to the end.
    - `batch_size`: pictures a step.
    - `empty`: the share of captions that are left out, for guidance without words.
    """

    rank: int = 8
    alpha: int | None = None
    target_modules: tuple[str, ...] = ATTENTION
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    batch_size: int = 8
    empty: float = 0.1

    name: ClassVar[str] = "picture-lora"
    family: ClassVar[str] = "adapter"
    footprint: ClassVar[Footprint] = Footprint(gradients=True, fit_speed=1.0)
    card: ClassVar[Card] = Card(
        changes="adds low-rank matrices beside the attention layers of the denoiser",
        needs="gradients through the denoiser, and from some eight pictures with captions",
        pays_when="a look or a thing is to be learnt that no words bring out",
        costs="an artifact of about 1 % of the base; what it learns may show where nobody asked",
        source="Hu et al. 2021, arXiv:2106.09685; on denoisers: diffusers' text-to-image LoRA",
    )

    def __post_init__(self) -> None:
        check_whole_numbers(self, rank=1)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the two factors of every update; the base is not written to."""
        check_needs(self, model)
        import peft
        import torch

        from luthier.models.adaptation import Adapter
        from luthier.training.adapter_fit import AdapterParameters, require_free_adapter_slot
        from luthier.training.denoising.fit_pictures import DenoisingPlan, fit_pictures, trials_over
        from luthier.training.fit import budget_tokens
        from luthier.training.peft_config import adapter_config
        from luthier.training.starting_prompt import starting_model

        require_free_adapter_slot(model, self.name)
        start = starting_model(model, task)
        backend: Any = model.backend
        plan = DenoisingPlan(
            budget_tokens(budget, backend), self.learning_rates, self.batch_size, empty=self.empty
        )
        config = adapter_config(
            peft.LoraConfig(
                r=self.rank,
                lora_alpha=self.alpha if self.alpha is not None else 2 * self.rank,
                target_modules=list(self.target_modules),
                lora_dropout=0.0,
            )
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fresh = replace(start.adaptation, adapter=Adapter(config, {}))
            with backend.session(fresh) as session:
                parameters = AdapterParameters(session.peft)
                trials = trials_over(
                    session, parameters, plan, defaults=backend.painter, task=task, seed=seed
                )
                result = fit_pictures(start, task, trials=trials, plan=plan, seed=seed)
                tensors = parameters.state()
        lineage = Lineage(
            self.name, settings_of(self), seed, result.record, model.lineage, task.example_hashes
        )
        return start.adapt(adapter=Adapter(config, tensors), lineage=lineage)
