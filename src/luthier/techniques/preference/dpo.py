"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290): from pairs of a better
and a worse answer, without a reward model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from luthier.techniques.base import Card
from luthier.techniques.preference.direct_tuning import DirectTuning

if TYPE_CHECKING:
    from luthier.training.objectives import DPOLoss


@dataclass(frozen=True)
class DPO(DirectTuning):
    """Learns from pairs of answers which kind to give.

    **Settings**

    - `beta`: what a step away from the starting model costs; smaller goes further.
    - `rank`: of the LoRA, where the model carries none yet; else its own adapter goes on.
    - `learning_rates`: those that are tried; the one with the best dev score is trained to the end.
    - `batch_size`: rows a step.
    - `prompt`: "task" (default) trains under the task's prompt, "bare" without its instruction.
    - `gates`: watch the answers while training, and go back to the last good state on collapse.
    """

    name: ClassVar[str] = "dpo"
    card: ClassVar[Card] = Card(
        changes="an adapter, so that better answers become likelier than worse ones",
        needs="gradients, and some hundred pairs of a better and a worse answer",
        pays_when="it is easier to say which answer is better than to write it",
        costs="two answers a row; answers may become unlikely altogether: watch the gates",
        source="Rafailov et al. 2023, arXiv:2305.18290",
    )

    def objective(self) -> DPOLoss:
        """The loss, from pairs."""
        from luthier.training.objectives import DPOLoss

        return DPOLoss(beta=self.beta)
