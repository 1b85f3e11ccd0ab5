"""Kahneman–Tversky optimisation (Ethayarajh et al. 2024, arXiv:2402.01306): from answers that were
judged one by one, good or bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from luthier.techniques.base import Card
from luthier.techniques.preference.direct_tuning import DirectTuning

if TYPE_CHECKING:
    from luthier.training.objectives import KTOLoss


@dataclass(frozen=True)
class KTO(DirectTuning):
    """Learns from thumbs: answers that are good, and answers that are bad.

    Of a pair the target is a good answer and the rejected one a bad answer.

    **Settings**

    - `beta`: what a step away from the starting model costs; smaller goes further.
    - `rank`: of the LoRA, where the model carries none yet; else its own adapter goes on.
    - `learning_rates`: those that are tried; the one with the best dev score is trained to the end.
    - `batch_size`: rows a step.
    - `prompt`: "task" (default) trains under the task's prompt, "bare" without its instruction.
    - `gates`: watch the answers while training, and go back to the last good state on collapse.
    - `desirable_weight`, `undesirable_weight`: of good and of bad answers, where one kind is rare.
    """

    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    name: ClassVar[str] = "kto"
    card: ClassVar[Card] = Card(
        changes="an adapter, so that good answers become likelier and bad ones less likely",
        needs="gradients, and some hundred answers with a thumb up or down, both kinds",
        pays_when="users give thumbs, and nobody compares two answers",
        costs="each row reads the answer of another prompt too, to see how far the model went",
        source="Ethayarajh et al. 2024, arXiv:2402.01306",
    )

    def objective(self) -> KTOLoss:
        """The loss, from answers one by one."""
        from luthier.training.objectives import KTOLoss

        return KTOLoss(
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )
