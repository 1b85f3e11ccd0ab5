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
    """Tokens of a batch: `shared` counts its common beginning once, `apart` for each request."""

    shared: int
    apart: int

    def __add__(self, other: TokenEstimate) -> TokenEstimate:
        return TokenEstimate(self.shared + other.shared, self.apart + other.apart)


def prompt_text(rendered: Rendered) -> str:
    """A prompt as one text, for counting."""
    if rendered.messages:
        return "\n".join(f"{m.role}\n{m.text}" for m in rendered.messages)
    return rendered.text


def estimate_tokens(model: Model, examples: Sequence[Example]) -> TokenEstimate:
    """What answering `examples` may cost at most, in tokens, by counting alone."""
    if not examples:
        return TokenEstimate(0, 0)
    count = model.backend.count_tokens
    prompts = render_for(model, examples)
    texts = [prompt_text(p) for p in prompts]
    prefix = _common_beginning(texts)
    beginning = count(prefix) if prefix else 0
    rest = sum(count(text[len(prefix) :]) + 1 for text in texts)
    decoding = model.adaptation.decoding
    answers = decoding.max_new_tokens
    if decoding.labels:
        labels = sum(count(c) + 1 for c in label_continuations(model, prompts[0]))
        answers = max(labels, 1)
    soft = model.adaptation.soft_prompt
    virtual = 0 if soft is None else int(soft.tensor.shape[0] * soft.tensor.shape[1])
    each = len(texts) * (answers + virtual)
    return TokenEstimate(beginning + rest + each, beginning * len(texts) + rest + each)


def _common_beginning(texts: Sequence[str]) -> str:
    if len(texts) < 2:
        return ""
    first, last = min(texts), max(texts)  # what these share, all between them share
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), None)
    return first[:length]


def computed(usage: Usage) -> int:
    """Tokens that really ran; a backend that does not say is charged for all it read and wrote."""
    return usage.computed_tokens or usage.prompt_tokens + usage.generated_tokens


class TokenBudget:
    """Keeps a search within its budget: in tokens, else in minutes, else in evaluations.

    Estimates are corrected by what earlier evaluations really cost. Until one tells otherwise
    nothing is taken to be shared between requests; then the worst share seen so far counts, and
    where a backend computes more than was counted, so does the worst excess.
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
        self.done = 0
        self._unshared = 1.0  # 0: common beginnings are computed once; 1: once for each request
        self.share_known = False
        self._excess = 1.0
        self._started = time.monotonic()

    @classmethod
    def of(
        cls, budget: Budget, model: Model, *, evaluations: int = DEFAULT_EVALUATIONS
    ) -> TokenBudget:
        """The token_budget for a budget. Minutes become tokens where the backend knows its speed."""
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
        return (self.evaluations or 0) - self.done

    def price(self, cost: TokenEstimate) -> float:
        """What an evaluation takes from `left`, at most."""
        if self.tokens is not None:
            return (cost.shared + self._unshared * (cost.apart - cost.shared)) * self._excess
        if self.seconds is not None:
            rate = (time.monotonic() - self._started) / self.spent if self.spent else 0.0
            return rate * cost.shared
        return 1.0

    def affords(self, cost: TokenEstimate, *, keep: float = 0.0) -> bool:
        """Whether an evaluation of this size stays within the budget and leaves `keep` of it."""
        return self.left > 0 and self.price(cost) <= self.left - keep

    def book(self, usage: Usage) -> int:
        """Count the tokens of one answer as spent; returns them."""
        real = computed(usage)
        self.spent += real
        return real

    def settle(self, cost: TokenEstimate, real: int) -> None:
        """Close an evaluation that was estimated at `cost` and took `real` tokens."""
        if cost.apart:
            self._excess = max(self._excess, real / cost.apart)
        if cost.apart > 1.2 * cost.shared:
            seen = min(1.0, max(0.0, (real - cost.shared) / (cost.apart - cost.shared)))
            self._unshared = max(self._unshared, seen) if self.share_known else seen
            self.share_known = True
