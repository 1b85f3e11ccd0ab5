"""One fit of a model that draws: trials over its open session, and dev requests that are drawn."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from luthier.images.adapted_pipeline import PictureSession
from luthier.images.painter import Painter
from luthier.images.picture_backend import drawing_of
from luthier.images.picture_files import keep_picture
from luthier.models.drawing_prompt import drawing_requests
from luthier.models.model import Model
from luthier.records import Example
from luthier.scoring.resolve import scorer_for
from luthier.task.task import Task
from luthier.training.denoising.denoising_trials import DenoisingTrials, DevPictures
from luthier.training.fit import FitResult, TrainingSettings, fit
from luthier.training.objectives import DenoisingLoss
from luthier.training.trainable import FROZEN_BASE, TrialParameters

FEWEST_STEPS_SEARCHED = 40  # for each learning rate, from which on the grid is searched


@dataclass(frozen=True, slots=True)
class DenoisingPlan:
    """How a technique trains.

    **Fields**

    - `tokens`: the budget, in passes of the denoiser over one latent.
    - `cost_factor`, `learns_words`: as in `DenoisingTrials`.
    - `empty`: the share of captions that are left out.
    """

    tokens: int
    learning_rates: tuple[float, ...]
    batch_size: int
    cost_factor: int = FROZEN_BASE
    weight_decay: float = 0.0
    learns_words: bool = False
    empty: float = 0.1

    @property
    def objective(self) -> DenoisingLoss:
        """What is trained for."""
        return DenoisingLoss(empty=self.empty)


def trials_over(
    session: PictureSession, parameters: TrialParameters, plan: DenoisingPlan, *,
    defaults: Painter, task: Task, seed: int,
) -> DenoisingTrials:  # fmt: skip
    """The trials of a plan. `defaults` is the painter that dev is drawn like."""
    return DenoisingTrials(
        session,
        parameters,
        objective=plan.objective,
        cost_factor=plan.cost_factor,
        dev_pictures=dev_drawing(session, defaults, task),
        learns_words=plan.learns_words,
        seed=seed,
    )


def fit_pictures(
    start: Model, task: Task, *, trials: DenoisingTrials, plan: DenoisingPlan, seed: int
) -> FitResult:
    """Train, and leave the parameters in their best state."""
    decoding = start.adaptation.decoding
    settings = TrainingSettings(
        plan.tokens,
        plan.learning_rates,
        plan.batch_size,
        weight_decay=plan.weight_decay,
        search_from=FEWEST_STEPS_SEARCHED,
        dev_tokens=start.backend.answer_tokens(decoding),
    )
    return fit(
        start, task, trainable=trials, objective=trials.objective, settings=settings, seed=seed
    )


def dev_drawing(session: PictureSession, painter: Painter, task: Task) -> DevPictures:
    """A function that draws examples as the session stands and scores them by the task's scorer."""
    scorer = scorer_for(task)

    def draw(model: Model, examples: Sequence[Example]) -> tuple[float | None, int]:
        if not examples:
            return None, 0
        fresh = Painter(session.pipeline, defaults=painter.defaults)  # it keeps no older texts
        decoding = model.adaptation.decoding
        drawings = [drawing_of(r, decoding) for r in drawing_requests(model, examples, seed=0)]
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(keep_picture(p, Path(folder))) for p in fresh.draw(drawings)]
            scores = [
                scorer.of(path, example.target, question=example.text)
                for path, example in zip(paths, examples, strict=True)
            ]
        sign = 1.0 if scorer.higher_is_better else -1.0
        return sign * mean(scores), fresh.passes

    return draw
