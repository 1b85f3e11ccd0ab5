"""Tokens: what an evaluation is going to cost, what was spent, what is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.content import Usage
from luthier.models.answering import label_continuations, render_for
from luthier.models.model import Model
from luthier.models.prompt import Rendered
from luthier.records import Budget, Example

DEFAULT_EVALUATIONS = 40


@dataclass(frozen=True, slots=True)
class TokenEstimate:
    """Tokens of a batch of requests.

    `with_sharing` counts the beginning that all prompts have in common once, `without_sharing`
    counts it for each request.
    """

    with_sharing: int
    without_sharing: int

    def __add__(self, other: TokenEstimate) -> TokenEstimate:
        return TokenEstimate(
            self.with_sharing + other.with_sharing, self.without_sharing + other.without_sharing
        )


def prompt_text(rendered: Rendered) -> str:
    """A prompt as one text, for counting."""
    if rendered.messages:
        return "\n".join(f"{m.role}\n{m.text}" for m in rendered.messages)
    return rendered.text


def estimate_tokens(model: Model, examples: Sequence[Example]) -> TokenEstimate:
    """The most tokens that answering `examples` may cost, by counting alone."""
    if not examples:
        return TokenEstimate(0, 0)
    count = model.backend.count_tokens
    prompts = render_for(model, examples)
    texts = [prompt_text(p) for p in prompts]
    beginning = _common_beginning(texts)
    beginning_tokens = count(beginning) if beginning else 0
    other_tokens = sum(count(text[len(beginning) :]) + 1 for text in texts)
    decoding = model.adaptation.decoding
    answer_tokens = model.backend.answer_tokens(decoding)
    if decoding.labels:
        label_tokens = sum(count(c) + 1 for c in label_continuations(model, prompts[0]))
        answer_tokens = max(label_tokens, 1)
    soft = model.adaptation.soft_prompt
    virtual_tokens = 0 if soft is None else int(soft.tensor.shape[0] * soft.tensor.shape[1])
    rest = other_tokens + len(texts) * (answer_tokens + virtual_tokens)
    return TokenEstimate(beginning_tokens + rest, beginning_tokens * len(texts) + rest)


def _common_beginning(texts: Sequence[str]) -> str:
    if len(texts) < 2:
        return ""
    first, last = min(texts), max(texts)  # what these share, all between them share
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:length]


def computed_tokens_of(usage: Usage) -> int:
    """Tokens that really ran; a backend that does not report them is charged for all that it read
    and wrote."""
    return usage.computed_tokens or usage.prompt_tokens + usage.generated_tokens


class TokenBudget:
    """Keeps a search within its budget: in tokens, else in minutes, else in evaluations.

    Estimates are corrected by what earlier evaluations really cost. At first nothing is taken to be
    shared between requests; then the worst sharing seen so far counts, and where a backend computes
    more than was counted, so does the worst excess.
    """

    def __init__(
        self,
        *,
        tokens: int | None = None,
        seconds: float | None = None,
        evaluations: int | None = None,
    ) -> None:
        self.tokens = tokens
        self.seconds = seconds
        self.evaluations = evaluations
        self.spent = 0
        self.generated = 0  # of what was spent, tokens that were generated
        self.evaluations_done = 0
        self.sharing_known = False
        # 0: the beginning of a batch is computed once; 1: once for each request.
        self._unshared = 1.0
        self._excess = 1.0
        self._started = time.monotonic()

    @classmethod
    def of(
        cls, budget: Budget, model: Model, *, evaluations: int = DEFAULT_EVALUATIONS
    ) -> TokenBudget:
        """The counter for a budget. Minutes become tokens where the backend knows its speed;
        without tokens and minutes `evaluations` counts."""
        if budget.tokens is not None:
            return cls(tokens=budget.tokens)
        if budget.minutes is None:
            return cls(evaluations=evaluations)
        per_second = model.backend.tokens_per_second()
        if per_second:
            return cls(tokens=int(budget.minutes * 60 * per_second))
        return cls(seconds=budget.minutes * 60)

    @property
    def left(self) -> float:
        """What is left, in the unit of the budget: tokens, seconds or evaluations."""
        if self.tokens is not None:
            return self.tokens - self.spent
        if self.seconds is not None:
            return self.seconds - (time.monotonic() - self._started)
        return (self.evaluations or 0) - self.evaluations_done

    def cost_of(self, estimate: TokenEstimate) -> float:
        """The most that an evaluation takes from `left`, in its unit."""
        if self.tokens is not None:
            repeated = estimate.without_sharing - estimate.with_sharing
            return (estimate.with_sharing + self._unshared * repeated) * self._excess
        if self.seconds is not None:
            rate = (time.monotonic() - self._started) / self.spent if self.spent else 0.0
            return rate * estimate.with_sharing
        return 1.0

    def affords(self, estimate: TokenEstimate, *, reserve: float = 0.0) -> bool:
        """Whether an evaluation of this size stays within the budget and leaves `reserve` of it."""
        return self.left > 0 and self.cost_of(estimate) <= self.left - reserve

    def spend(self, usage: Usage) -> int:
        """Count the tokens of one answer as spent; returns them."""
        tokens = computed_tokens_of(usage)
        self.spent += tokens
        self.generated += usage.generated_tokens
        return tokens

    def learn_from(self, estimate: TokenEstimate, real: int) -> None:
        """Correct later estimates by an evaluation that took `real` tokens."""
        together, apart = estimate.with_sharing, estimate.without_sharing
        if apart:
            self._excess = max(self._excess, real / apart)
        if apart > 1.2 * together:
            unshared = min(1.0, max(0.0, (real - together) / (apart - together)))
            self._unshared = max(self._unshared, unshared) if self.sharing_known else unshared
            self.sharing_known = True
