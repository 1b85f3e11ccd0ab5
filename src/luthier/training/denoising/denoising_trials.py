"""Trials over the denoiser of a pipeline: each row is noised by lot and denoised once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from luthier.engine import autocast
from luthier.errors import CapabilityError
from luthier.images.adapted_pipeline import PictureSession
from luthier.images.painter import OWN_LOOP
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.objectives import DenoisingLoss, Objective
from luthier.training.rows import TrainRow
from luthier.training.trainable import DevEvaluation, State, TrialParameters

FIXED_DRAWS = 4  # noises of each row by which states are compared
FIXED_STEP = 1 << 40  # the number of their step, which no training step has

DevPictures = Callable[[Model, Sequence[Example]], tuple[float | None, int]]


class DenoisingTrials:
    """A `Trainable` over an open `PictureSession`; its learning rates take turns.

    **Arguments**

    - `parameters`: what trains.
    - `objective`: weighs the noise levels.
    - `cost_factor`: passes of the denoiser that one trained row takes.
    - `learns_words`: the texts are encoded anew at each step, for what trains changes them.
    - `dev_pictures`: draws dev examples and scores them; (None, 0) where there are none.
    - `seed`: of the noise.
    """

    parallel = False

    def __init__(
        self, session: PictureSession, parameters: TrialParameters, *, objective: DenoisingLoss,
        cost_factor: int, dev_pictures: DevPictures, learns_words: bool = False, seed: int = 0,
    ) -> None:  # fmt: skip
        check_trainable(session.pipeline)
        self.session: Any = session
        self.trial, self.objective = parameters, objective
        self.cost_factor, self.learns_words, self.seed = cost_factor, learns_words, seed
        self.dev_pictures = dev_pictures
        self.step = 0
        self._states: dict[str, torch.Tensor] = {}
        self._rows: list[TrainRow] = []

    def prepare(self, rows: Sequence[TrainRow]) -> None:
        """Keep the rows, and encode their texts once where nothing that trains changes these."""
        self._rows = list(rows)
        if not self.learns_words:
            with torch.no_grad():
                texts = list(dict.fromkeys([*(r.text for r in rows), ""]))  # type: ignore[attr-defined]
                for text, states in zip(texts, self._encoded(texts), strict=True):
                    self._states[text] = states

    def parameters(self, trial: int) -> list[torch.nn.Parameter]:
        """What the optimiser steps."""
        return self.trial.parameters()

    def state(self, trial: int) -> State:
        """A copy of the parameters."""
        return self.trial.state()

    def load(self, trial: int, state: Mapping[str, torch.Tensor]) -> None:
        """Put a copy back."""
        self.trial.load(state)

    def logprobs(self, rows: Sequence[TrainRow], trials: Sequence[int]) -> list[torch.Tensor]:
        """(B, 1): minus the weighted squared error of each row at a time and a noise of this step,
        a bound of log p(picture | caption) up to factors that no parameter changes."""
        self.step += 1
        return [self._bound(rows, self.step) for _ in trials]

    def cost(self, rows: Sequence[TrainRow], trials: Sequence[int]) -> int:
        """The passes of a step, forward and back."""
        return self.cost_factor * len(rows) * len(trials)

    def one_time_cost(self, rows: Sequence[TrainRow]) -> int:
        """Zero: encoding pictures is no pass of the denoiser."""
        return 0

    def replay(self, rows: Sequence[TrainRow]) -> None:
        """Count a step that was done before, so that later ones have their own noise."""
        self.step += 1

    def dev_evaluator(
        self, model: Model, examples: Sequence[Example], objective: Objective
    ) -> DevEvaluation:
        """The mean of two numbers from 0 to 1: the score of drawn dev examples, which counts and
        moves in jumps, and exp(−loss) of the training rows at fixed noises."""

        def evaluate_dev(trials: Sequence[int]) -> tuple[list[float], int]:
            if not trials:
                return [], 0
            with torch.no_grad():
                bounds = [self._bound(self._rows, FIXED_STEP + i) for i in range(FIXED_DRAWS)]
            fit = math.exp(float(torch.stack(bounds).mean()))
            drawn, spent = self.dev_pictures(model, examples)
            spent += FIXED_DRAWS * len(self._rows)
            score = fit if drawn is None else (fit + drawn) / 2
            return [score] * len(trials), spent

        return evaluate_dev

    def error_of(self, rows: Sequence[TrainRow]) -> float:
        """The weighted error of rows at fixed noises, as the words read now."""
        with torch.no_grad():
            bounds = [self._bound(rows, FIXED_STEP + i) for i in range(FIXED_DRAWS)]
        return -float(torch.stack(bounds).mean())

    def _bound(self, rows: Sequence[TrainRow], step: int) -> torch.Tensor:
        session, scheduler = self.session, self.session.pipeline.scheduler
        draw = torch.Generator().manual_seed((self.seed * 1_000_003 + step) % (1 << 63))
        clean = torch.stack([row.latent for row in rows])  # type: ignore[attr-defined]
        alphas = scheduler.alphas_cumprod.float()
        # One time from each of B equal parts of the schedule: fewer jumps of the loss.
        places = (torch.arange(len(rows)) + torch.rand(len(rows), generator=draw)) / len(rows)
        times = (places * len(alphas)).long().clamp(max=len(alphas) - 1)
        times = times[torch.randperm(len(rows), generator=draw)]
        noise = torch.randn(clean.shape, generator=draw)
        left_out = torch.rand(len(rows), generator=draw) < self.objective.empty
        a = alphas[times].sqrt().view(-1, 1, 1, 1)
        b = (1 - alphas[times]).sqrt().view(-1, 1, 1, 1)
        wanted = {"epsilon": noise, "v_prediction": a * noise - b * clean, "sample": clean}
        texts = [
            "" if out and step < FIXED_STEP else row.text  # type: ignore[attr-defined]
            for row, out in zip(rows, left_out.tolist(), strict=True)
        ]
        device, dtype = session.device, session.dtype
        with autocast(device, dtype):
            found = session.denoiser(
                (a * clean + b * noise).to(device=device, dtype=dtype),
                times.to(device),
                encoder_hidden_states=self._texts(texts).to(dtype),
                return_dict=False,
            )[0]
        kind = scheduler.config.prediction_type
        error = (found.float().cpu() - wanted[kind]).square().mean((1, 2, 3))
        snr = alphas[times] / (1 - alphas[times])
        bound: torch.Tensor = -(self.objective.weight(snr, kind) * error).unsqueeze(1)
        return bound

    def _texts(self, texts: Sequence[str]) -> torch.Tensor:
        if self.learns_words:
            return self._encoded(texts)
        return torch.stack([self._states[text] for text in texts])

    def _encoded(self, texts: Sequence[str]) -> torch.Tensor:
        """The states of texts, (B, L, W), with gradients to the words that are learnt."""
        pipeline = self.session.pipeline
        ids = pipeline.tokenizer(
            list(texts), padding="max_length", truncation=True, return_tensors="pt",
            max_length=pipeline.tokenizer.model_max_length,
        ).input_ids  # fmt: skip
        states: torch.Tensor = pipeline.text_encoder(ids.to(self.session.device))[0]
        return states


def check_trainable(pipeline: Any) -> None:
    """CapabilityError for a pipeline whose loss is not computed here."""
    known = type(pipeline).__name__ in OWN_LOOP and hasattr(pipeline.scheduler, "alphas_cumprod")
    if not known:
        raise CapabilityError(
            f"a {type(pipeline).__name__} with {type(pipeline.scheduler).__name__} is not trained "
            "here",
            choices=OWN_LOOP,
            next_step="Use prompt search, or a Stable Diffusion pipeline.",
        )
