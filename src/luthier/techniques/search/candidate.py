"""A candidate prompt, and what is known of it so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from luthier.content import Response
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.techniques.search.calibration import Calibration, Scores


@dataclass(eq=False)
class Candidate:
    """A prompt that competes with others on the dev examples.

    **Fields**

    - `changes`: what was changed, for the record: "part", "change", "selection".
    - `answers`: answers to the first dev examples; more come with every evaluation.
    - `content_free`: label scores (N, L) of inputs that say nothing, for contextual calibration.
    - `scores`: the score of each answer, one list for each calibration.
    - `target_logprobs`: where labels are scored, the log-probability of the right label among the
      labels, one list for each calibration; it tells candidates apart whose scores are equal.
    - `tokens`: what its answers cost.
    """

    name: str
    model: Model
    changes: Mapping[str, str]
    answers: list[Response] = field(default_factory=list)
    content_free: Scores | None = None
    scores: dict[Calibration, list[float]] = field(default_factory=dict)
    target_logprobs: dict[Calibration, list[float]] = field(default_factory=dict)
    tokens: int = 0

    @property
    def prompt(self) -> Prompt:
        """The prompt that competes."""
        return self.model.adaptation.prompt

    @property
    def best(self) -> tuple[Calibration, float]:
        """The calibration with the highest mean score, the simplest among equals, and that mean.

        ValueError before the first answer.
        """
        return self.best_on(len(self.answers))

    def best_on(self, count: int) -> tuple[Calibration, float]:
        """The same for the first `count` answers."""
        means = {c: float(np.mean(scores[:count])) for c, scores in self.scores.items()}
        name = max(means, key=lambda c: means[c])
        return name, means[name]

    @property
    def tokens_per_request(self) -> float:
        """Tokens computed for one input; what inputs share is spread over them."""
        return self.tokens / max(len(self.answers), 1)
