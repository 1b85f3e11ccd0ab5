"""How many passes over the training examples a budget buys, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

from luthier.models.answering import render_for
from luthier.models.model import Model
from luthier.models.prompt import label_text
from luthier.task.task import Task
from luthier.training.dev_eval import label_tokens
from luthier.training.fit import DEV_SHARE, affordable_dev, searched
from luthier.training.loop import EVALUATIONS, SEARCH_SHARE
from luthier.training.starting_prompt import starting_model

SAMPLED_EXAMPLES = 64


@dataclass(frozen=True, slots=True)
class RowTokens:
    """Mean tokens of a training example: its prompt and its answer; `labels`: of all labels, or of
    the answer where there are none."""

    prompt: float
    answer: float
    labels: float


def row_tokens(model: Model, task: Task, *, style: str) -> RowTokens:
    """Measured on some training examples, under the prompt that training starts with."""
    examples = list(task.train[:SAMPLED_EXAMPLES])
    start = starting_model(model, task, style=style)
    count, form = model.backend.count_tokens, start.adaptation.prompt.format
    rendered = render_for(start, examples)
    texts = [r.text or " ".join(m.text for m in r.messages) for r in rendered]
    answer = mean(count(f" {label_text(e.target, form)}") for e in examples)
    return RowTokens(
        prompt=mean(count(text) for text in texts),
        answer=answer,
        labels=label_tokens(start) or answer,
    )


@dataclass(frozen=True, slots=True)
class RateSearch:
    """A search over `rates` learning rates that take turns, made where the tokens reach for
    `search_from` steps of `batch_size` rows, and for three passes over the rows, for each."""

    rates: int
    batch_size: int
    search_from: int

    def kept(self, passes: float, examples: int) -> float:
        """The passes of the rate that wins: the turns of the others are lost to it."""
        steps = passes * examples / max(1, min(self.batch_size, examples))
        if not searched(self.rates, steps=steps, search_from=self.search_from, passes=passes):
            return passes
        return passes * (1.0 - SEARCH_SHARE * (self.rates - 1) / self.rates)


def planned_passes(
    model: Model,
    task: Task,
    tokens: int,
    *,
    cost_factor: int,
    style: str,
    extra: float = 0.0,
    search: RateSearch | None = None,
) -> float:
    """Passes over the training split of a fit that computes every token of every row in each step.

    n = (B − D) / (c N r), with B the budget, D the dev evaluations (an eighth of it, or what the
    whole dev split takes, or what 16 examples take, but a quarter at most), c forward-token
    equivalents a trained token, N examples of r tokens. `extra` is added to r: what a step computes
    beside a row. Where rates are searched one after the other, the winner's passes count.
    """
    row = row_tokens(model, task, style=style)
    whole = row.prompt + row.answer + extra
    each_dev = row.prompt + extra + row.labels
    most = int(tokens * DEV_SHARE / EVALUATIONS / each_dev)
    examples, times = affordable_dev(tokens, once=0.0, each=each_dev, most=most)
    on_dev = times * each_dev * min(examples, len(task.dev))
    passes = max(0.0, tokens - on_dev) / (cost_factor * len(task.train) * whole)
    return passes if search is None else search.kept(passes, len(task.train))
