"""A scorer: how one example is scored, and how a metric is made of many scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.errors import TaskError
from luthier.records import Example, SampleScore
from luthier.scoring.metrics import Statistics, mean

ScoreFunction = Callable[[str, str], float]


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """Scores one example with `score(prediction, target)` and many with `aggregate`.

    **Arguments**

    - `metric`: the name of the metric.
    - `score`: from prediction and target to a number, mostly in [0, 1]. An answer that could not be
      read reaches it as "".
    - `aggregate`: from sample scores to the statistics whose sums give the metric.
    - `low`, `high`: bounds of both the scores and the metric; None where there is none.
    - `readable`: a further condition for an answer to count as parsed (JSON for the JSON scorers).
    - `check_target`: raises TaskError, before the model runs, for a target that this scorer cannot
      use.
    - `score_asked`: scores (question, prediction, target) where the question counts too.
    - `notes`: what a reader of the scores should know, asked for after all are scored.
    - `score_sample`: scores what came before the answer as well (calls of tools), in place of
      `score`.
    - `remarks`: says in words what is wrong with a prediction.
    - `needs_likelihood`: sample scores are nats per token of the target; no answer is generated.
    """

    metric: str
    score: ScoreFunction
    aggregate: Callable[[Sequence[SampleScore]], Statistics] = mean
    low: float | None = 0.0
    high: float | None = 1.0
    higher_is_better: bool = True
    readable: Callable[[str], bool] | None = None
    check_target: Callable[[str], Any] | None = None
    needs_likelihood: bool = False
    score_sample: Callable[[SampleScore], float] | None = None
    score_asked: Callable[[str, str, str], float] | None = None
    notes: Callable[[], tuple[str, ...]] | None = None
    remarks: Callable[[str, str], tuple[str, ...]] | None = None

    def of(self, prediction: str, target: str, *, question: str) -> float:
        """The score of one prediction."""
        if self.score_asked is not None:
            return self.score_asked(question, prediction, target)
        return self.score(prediction, target)

    @property
    def is_corpus_level(self) -> bool:
        """Whether the metric is something else than the mean of the scores."""
        return self.aggregate is not mean

    def check(self, examples: Sequence[Example]) -> None:
        """TaskError, with the id of the example, where this scorer cannot use a target."""
        if self.check_target is None:
            return
        for example in examples:
            try:
                self.check_target(example.target)
            except TaskError as error:
                raise TaskError(
                    f"Example {example.id}: {error.problem}", next_step=error.next_step
                ) from error
