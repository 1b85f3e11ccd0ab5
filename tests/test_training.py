"""Trained techniques on tiny random models: they learn, the base stays, a killed fit goes on."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest
import torch

from luthier.compare.request import default_techniques, resolve_techniques
from luthier.context import WorkContext, working
from luthier.errors import BudgetError, CapabilityError, TechniqueError
from luthier.models.model import Model
from luthier.models.storage import open_adaptation
from luthier.records import Budget, Example, Kind
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.techniques.adapter.ia3 import IA3
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.base import unmet_by_model
from luthier.techniques.soft.prefix_tuning import PrefixTuning
from luthier.techniques.soft.soft_prompt import SoftPrompt
from luthier.techniques.spelling import parse_technique
from luthier.techniques.weights.full_fine_tuning import FullFineTuning
from luthier.training.passes import RateSearch
from tests import tiny

WORDS = {"billing": ["charged", "invoice", "paid"], "delivery": ["parcel", "courier", "late"]}
TOKENS = 30_000


def make_task() -> Task:
    rng = random.Random(0)
    examples = []
    for i in range(90):
        label = rng.choice(sorted(WORDS))
        text = " ".join([rng.choice(["my", "the", "a"]), rng.choice(WORDS[label]), f"{i}"])
        examples.append(Example(str(i), text, label))
    spec = TaskSpec(
        name="tiny", instruction="Route it.", kind=Kind.CLASSIFY, scorer="accuracy",
        labels=("billing", "delivery"), target_name="Label",
    )  # fmt: skip
    return Task(spec, tuple(examples[:50]), tuple(examples[50:70]), tuple(examples[70:]))


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task()


@pytest.fixture(scope="module")
def llama() -> Model:
    return tiny.model("llama")


def accuracy(model: Model, task: Task) -> float:
    answers = model.answer(task.test)
    return sum(a.parsed == e.target for a, e in zip(answers, task.test, strict=True)) / len(answers)


TECHNIQUES = [
    SoftPrompt(tokens=4, learning_rates=(0.3, 1.3)),
    SoftPrompt(tokens=4, placement="after", learning_rates=(1.3,), bottleneck=8, init="text"),
    SoftPrompt(tokens=2, votes=3, learning_rates=(1.3,), init="vocabulary"),
    LoRA(rank=4, learning_rates=(0.01, 0.03)),
    LoRA(rank=4, learning_rates=(0.01,), rslora=True),
    LoRA(rank=4, learning_rates=(0.01,), dora=True),
    IA3(learning_rates=(0.05,)),
    PrefixTuning(tokens=4, learning_rates=(0.05,)),
    FullFineTuning(learning_rates=(3e-3,)),
]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda t: f"{t.name}-{TECHNIQUES.index(t)}")
def test_learns_and_leaves_the_base_alone(technique, task, llama, tmp_path):
    before = {k: v.clone() for k, v in llama.backend.module.state_dict().items()}
    locked = task.without_test()
    fitted = technique.fit(llama, locked, budget=Budget(tokens=TOKENS), seed=1)
    after = llama.backend.module.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(before[k], after[k]) for k in before)
    record = fitted.lineage.fit
    bare = Budget(tokens=10_000)  # a few steps at a rate that moves nothing
    barely = dataclasses.replace(technique, learning_rates=(1e-6,)).fit(
        llama, locked, budget=bare, seed=1
    )
    start = barely.lineage.fit.history[0].train_loss
    assert min(h.train_loss for h in record.history) < start - 0.2
    assert record.spent_tokens >= TOKENS * 0.5
    assert record.trainable_parameters > 0
    again = technique.fit(llama, locked, budget=Budget(tokens=TOKENS), seed=1)
    first = [a.label_logprobs for a in fitted.answer(task.test)]
    assert first == [a.label_logprobs for a in again.answer(task.test)]
    fitted.save(tmp_path / "m")
    loaded = Model(llama.backend, open_adaptation(tmp_path / "m")[0])
    assert first == [a.label_logprobs for a in loaded.answer(task.test)]


def test_full_and_lora_reach_the_ceiling_of_an_easy_task(task, llama):
    for technique in (
        FullFineTuning(learning_rates=(3e-3,)),
        LoRA(rank=8, learning_rates=(0.02,), batch_size=4),
    ):
        fitted = technique.fit(llama, task.without_test(), budget=Budget(tokens=150_000), seed=0)
        assert accuracy(fitted, task) >= 0.9, technique.name


@pytest.mark.parametrize(
    ("settings", "shares", "keys"),
    [({}, True, "AB"), ({"rslora": True}, True, "AB"), ({"dora": True}, False, "_magnitude")],
)
def test_relatives_of_lora_are_what_peft_makes_of_them(task, llama, settings, shares, keys):
    from luthier.engine.adapters.batched_lora import shares_batches

    technique = LoRA(rank=4, learning_rates=(0.01,), **settings)
    fitted = technique.fit(llama, task.without_test(), budget=Budget(tokens=8_000))
    adapter = fitted.adaptation.adapter
    assert shares_batches(adapter) == shares
    assert adapter.config["use_rslora"] == bool(settings.get("rslora"))
    assert any("lora_magnitude_vector" in name for name in adapter.tensors) == (keys != "AB")


def test_rates_that_take_turns_get_equal_steps(task, llama):
    technique = IA3(learning_rates=(1e-3, 1e-2, 1e-1), batch_size=4)
    fitted = technique.fit(llama, task.without_test(), budget=Budget(tokens=200_000), seed=0)
    ends = [h.step for h in fitted.lineage.fit.history if h.stage == "search"]
    taken = [b - a for a, b in itertools.pairwise([0, *ends])]
    assert len(taken) == 3
    assert max(taken) - min(taken) <= 1, taken  # rows differ in length


def test_adapter_opens_with_peft_alone(task, llama, tmp_path):
    import peft

    fitted = LoRA(rank=2, learning_rates=(0.01,)).fit(
        llama, task.without_test(), budget=Budget(tokens=10_000)
    )
    fitted.save(tmp_path / "m")
    fresh = tiny.backend("llama").module
    opened = peft.PeftModel.from_pretrained(fresh, tmp_path / "m" / "adapter").eval()
    ids = torch.tensor([[1, 40, 50, 60]])
    with llama.backend.session(fitted.adaptation) as session, torch.inference_mode():
        ours = session.module(input_ids=ids).logits
    with torch.inference_mode():
        assert torch.allclose(ours, opened(input_ids=ids).logits, atol=1e-5)


def test_fork_opens_with_transformers_alone(task, llama, tmp_path):
    import transformers

    fitted = FullFineTuning(learning_rates=(1e-3,)).fit(
        llama, task.without_test(), budget=Budget(tokens=10_000)
    )
    fitted.save(tmp_path / "m")
    opened = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m" / "weights")
    ids = torch.tensor([[1, 40, 50, 60]])
    with llama.backend.session(fitted.adaptation) as session, torch.inference_mode():
        assert torch.allclose(
            session.module(input_ids=ids).logits, opened(input_ids=ids).logits, atol=1e-5
        )


def test_recipe_by_closure(task, llama):
    soft = SoftPrompt(tokens=2, learning_rates=(0.7,))
    lora = LoRA(rank=2, learning_rates=(0.01,))
    locked, budget = task.without_test(), Budget(tokens=8_000)
    both = lora.fit(soft.fit(llama, locked, budget=budget), locked, budget=budget)
    assert set(both.adaptation.filled) >= {"soft_prompt", "adapter"}
    assert both.lineage.parent.technique == "soft-prompt"
    with pytest.raises(TechniqueError, match="adapter"):
        lora.fit(both, locked, budget=budget)


@pytest.mark.parametrize("family", ["gpt2", "opt", "qwen3", "gemma3", "t5"])
def test_every_family_trains(family, task):
    model = tiny.model(family)
    techniques = [
        SoftPrompt(tokens=3, learning_rates=(0.7,)),
        SoftPrompt(tokens=3, learning_rates=(0.7,), placement="after"),
        LoRA(rank=2, learning_rates=(0.01,)),
        IA3(learning_rates=(0.05,)),
    ]
    if family != "t5":
        techniques.append(PrefixTuning(tokens=3, learning_rates=(0.05,)))
    for technique in techniques:
        fitted = technique.fit(model, task.without_test(), budget=Budget(tokens=8_000))
        assert len(fitted.answer(task.test)) == len(task.test)


def test_prefix_tuning_refuses_encoder_decoders(task):
    with pytest.raises(CapabilityError, match="decoder-only"):
        PrefixTuning(tokens=2).fit(tiny.model("t5"), task.without_test(), budget=Budget(tokens=9))


def test_the_defaults_for_an_encoder_decoder_can_all_run_on_it(task, llama):
    both = tiny.model("t5")
    names = default_techniques(task, both)
    assert [unmet_by_model(t, both) for t in resolve_techniques(names)] == [None] * len(names)
    assert "soft-prompt" in names
    assert "prefix" in default_techniques(task, llama)
    assert "decoder-only" in (unmet_by_model(parse_technique("few-shot -> prefix"), both) or "")


def test_a_budget_for_nothing_is_refused(task, llama):
    with pytest.raises(BudgetError, match="four steps"):
        LoRA().fit(llama, task.without_test(), budget=Budget(tokens=50))


class Killed(BaseException):
    """Not an Exception, as a kill is none."""


@pytest.mark.parametrize("at", [0.1, 0.25, 0.45, 0.6])
def test_a_killed_fit_ends_like_an_unbroken_one(at, task, llama, tmp_path, monkeypatch):
    import luthier.training.checkpoint as checkpoint

    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    technique = SoftPrompt(tokens=3, learning_rates=(0.3, 1.3), bottleneck=4)
    locked, budget = task.without_test(), Budget(tokens=12_000)
    whole = technique.fit(llama, locked, budget=budget, seed=3)

    def die(done, total, message):
        if done > at * total:
            raise Killed

    with working(WorkContext(progress=die, folder=tmp_path)), pytest.raises(Killed):
        technique.fit(llama, locked, budget=budget, seed=3)
    assert (tmp_path / checkpoint.FILE).is_file()
    steps = []
    with working(WorkContext(progress=lambda d, t, m: steps.append(d), folder=tmp_path)):
        resumed = technique.fit(llama, locked, budget=budget, seed=3)
    assert steps[0] > 0.5 * at * budget.tokens
    assert torch.equal(resumed.adaptation.soft_prompt.tensor, whole.adaptation.soft_prompt.tensor)
    assert not (tmp_path / checkpoint.FILE).exists()


def test_epochs_are_those_of_the_rate_that_won(llama, task):
    tried = LoRA(rank=2, learning_rates=(1e-3, 1e-2), batch_size=2)
    budget = Budget(tokens=60_000)
    facts = tried.fit(llama, task.without_test(), budget=budget).lineage.fit.training
    assert len(facts.learning_rates_tried) == 2
    whole = facts.steps * 2 / len(task.train)
    assert 0.5 * whole < facts.epochs < 0.95 * whole
    alone = LoRA(rank=2, learning_rates=(1e-3,), batch_size=2)
    once = alone.fit(llama, task.without_test(), budget=Budget(tokens=6_000)).lineage.fit.training
    assert once.epochs == pytest.approx(once.steps * 2 / len(task.train), abs=0.01)


def test_a_search_takes_passes_from_the_rate_that_wins():
    search = RateSearch(rates=3, batch_size=2, search_from=300)
    assert search.kept(4.0, 400) == 4.0, "800 steps are too few to search"
    assert search.kept(29.0, 400) == 29.0, "a rate would be judged before its third pass"
    assert search.kept(31.0, 400) == pytest.approx(31.0 * 0.8)
    assert RateSearch(1, 2, 300).kept(5.0, 400) == 5.0


def test_many_labels_leave_the_tokens_to_training(llama):
    """A dev evaluation reads all labels; with many of them it takes fewer examples."""
    rng = random.Random(0)
    names = [f"a rather long name of a label {i}" for i in range(24)]
    rows = [Example(str(i), f"{rng.choice('abcdef')} {i}", names[i % 24]) for i in range(240)]
    splits = {"train": rows[:120], "dev": rows[120:200], "test": rows[200:]}
    task = Task.from_examples(
        splits, name="many", instruction="x", kind="classify", labels=names, leaks="keep"
    )
    technique, budget = LoRA(rank=2, learning_rates=(1e-3,), batch_size=2), 60_000
    fit = technique.fit(llama, task.without_test(), budget=Budget(tokens=budget)).lineage.fit
    planned = technique.passes(llama, task, budget)
    assert fit.training.dev_examples < 80
    if not fit.training.stopped_early:
        assert fit.training.epochs == pytest.approx(planned, rel=0.25)
