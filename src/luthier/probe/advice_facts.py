"""What the advice goes by: the task and the base in figures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdviceFacts:
    """The task and the base in figures. None: not measured, or there is nothing to measure.

    `zero_shot`, `few_shot` (the `shots` nearest examples), `plain` (TF-IDF with logistic
    regression) and `open_book` (passages looked up, no demonstrations) are scores on the same
    `dev_examples` dev examples; `chance` is what the commonest label of train would score there.
    """

    metric: str
    train_examples: int
    dev_examples: int
    labels: int
    documents: bool
    tools: bool
    free_text: bool
    encoder_decoder: bool
    can_train: bool
    can_embed: bool
    context_tokens: int | None
    example_tokens: float
    shots: int
    zero_shot: float | None = None
    few_shot: float | None = None
    plain: float | None = None
    open_book: float | None = None
    chance: float | None = None

    @property
    def examples_per_label(self) -> float | None:
        """The training examples of a label, on average; None without labels."""
        return self.train_examples / self.labels if self.labels else None
