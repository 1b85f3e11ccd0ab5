"""Long inputs: a budget that is small for them still trains, and what is cut is the input."""

from __future__ import annotations

import random

import pytest

from luthier.engine.mixture import generate_mixture, score_mixture
from luthier.errors import BudgetError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.prompt import Prompt, render
from luthier.records import Budget
from luthier.task.task import Task
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.soft.soft_prompt import SoftPrompt
from luthier.techniques.weights.full_fine_tuning import FullFineTuning
from luthier.training.fit import affordable_dev
from tests import tiny

pytestmark = pytest.mark.inputs


def long_task(words):
    """Inputs of so many words, of which a few tell the label."""
    draw = random.Random(0)
    rows = []
    for i in range(60):
        label = ("billing", "delivery")[i % 2]
        told = ("card", "parcel")[i % 2]
        rows.append((" ".join(draw.choice(["the", "dog", told]) for _ in range(words)), label))
    return Task.from_examples(rows, instruction="Route.", leaks="keep").without_test()


@pytest.mark.slow
@pytest.mark.parametrize(
    "technique",
    [
        LoRA(rank=2, learning_rates=(0.01,)),
        LoRA(rank=2, batch_size=8, learning_rates=(0.01,)),
        SoftPrompt(tokens=3, learning_rates=(0.5,), placement="after"),
        FullFineTuning(learning_rates=(1e-3,)),
    ],
)
@pytest.mark.parametrize("words", [20, 110])
def test_most_of_a_budget_buys_steps_at_any_length(technique, words):
    task, model = long_task(words), tiny.model("llama")
    each = model.backend.count_tokens(task.train[0].input)
    budget = 40 * each  # as 40,000 tokens are for inputs of 1,000
    fitted = technique.fit(model, task, budget=Budget(tokens=budget), seed=0)
    fit = fitted.lineage.fit
    dev = sum(1 for step in fit.history if step.dev_score is not None) * fit.training.dev_examples
    assert fit.training.steps >= 3
    assert dev * each <= 0.4 * budget
    assert 0.4 * budget < fit.spent_tokens <= 1.1 * budget


def test_a_budget_below_four_steps_names_the_amount():
    task, model = long_task(110), tiny.model("llama")
    with pytest.raises(BudgetError) as caught:
        LoRA(rank=2).fit(model, task, budget=Budget(tokens=2_000), seed=0)
    least = int(caught.value.next_step.split("at least ")[1].split(" ")[0].replace(",", ""))
    fitted = LoRA(rank=2).fit(model, task, budget=Budget(tokens=least), seed=0)
    assert fitted.lineage.fit.training.steps >= 1
    assert fitted.lineage.fit.training.batch_size == 1


@pytest.mark.parametrize(
    ("tokens", "each", "most", "plan"),
    [
        (1_000_000, 100, 250, (250, 5)),  # as ever
        (60_000, 40, 16, (16, 5)),
        (40_000, 40, 8, (16, 5)),  # five of 16 take less than a quarter
        (40_000, 200, 5, (16, 3)),
        (40_000, 600, 1, (16, 1)),
        (40_000, 1_000, 1, (10, 1)),
        (10_000, 5_000, 0, (1, 1)),
    ],
)
def test_dev_evaluations_give_way(tokens, each, most, plan):
    assert affordable_dev(tokens, once=0.0, each=each, most=most) == plan
    examples, times = plan
    assert examples == 1 or examples * times * each <= max(tokens / 4, tokens / 8 + each)


@pytest.mark.parametrize("place", ["input", "passage"])
def test_a_mixture_cuts_the_input_and_nothing_else(place, monkeypatch):
    backend = tiny.backend("llama")
    prompt = Prompt(instruction="Route it.", labels=("billing", "delivery"))
    long = "first " + "brown fox " * 400 + "last"
    texts = {"input": (long, None), "passage": ("where is it", long)}
    text, passage = texts[place]
    prompts = [
        render(prompt, text, passage=passage or "a short one"),
        render(prompt, "where is it", passage="another"),
    ]
    seen = []
    with backend.session(Adaptation()) as session:
        embed = type(session).embed

        def watching(self, ids, soft=None):
            seen.extend(self.tokenizer.decode(row) for row in ids)
            return embed(self, ids, soft)

        monkeypatch.setattr(type(session), "embed", watching)
        scored = score_mixture(session, prompts, [0.5, 0.5], (" billing", " delivery"))
        cut = next(row for row in seen if "…" in row)
        assert "Route it." in cut
        assert "billing, delivery" in cut
        assert "first" in cut
        assert "last" in cut
        assert cut.rstrip().endswith(("billing", "delivery"))
        assert scored.usage.truncated == 1
        seen.clear()
        made = generate_mixture(session, prompts, [0.5, 0.5], Decoding(max_new_tokens=5))
        assert made.usage.truncated == 1
        assert "Route it." in next(row for row in seen if "…" in row)


def test_a_mixture_that_fits_is_not_cut():
    backend = tiny.backend("llama")
    prompts = [render(Prompt(instruction="Route it."), "where is it", passage=p) for p in "ab"]
    with backend.session(Adaptation()) as session:
        scored = score_mixture(session, prompts, [0.5, 0.5], (" billing", " delivery"))
    assert scored.usage.truncated == 0
