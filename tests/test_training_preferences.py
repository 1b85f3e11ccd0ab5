"""DPO and KTO: prompts shared, losses as TRL's to 1e-4, and fits that learn and stay healthy."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from luthier.errors import BudgetError, TaskError, TechniqueError
from luthier.models.adaptation import Adapter
from luthier.records import Budget, Example, Kind
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.techniques.preference.dpo import DPO
from luthier.techniques.preference.kto import KTO
from luthier.techniques.spelling import parse_technique
from luthier.training.objectives import DPOLoss, KTOLoss
from luthier.training.preference_rows import kto_rows, preference_rows
from luthier.training.rows import answer_logprobs, batch_of
from luthier.training.shared_prompt import row_logprobs
from tests import tiny

CONFIG = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "target_modules": "all-linear"}
SPEC = TaskSpec(
    name="tone", instruction="Answer.", kind=Kind.GENERATE, scorer="rouge-l",
    max_new_tokens=8, rejected="rejected",
)  # fmt: skip


def example(i: int, rng: random.Random) -> Example:
    text = f"where is parcel {rng.choice('abcdef')} {i}"
    target, rejected = (
        rng.choice(["thank you", "thank you for asking"]),
        rng.choice(["no", "go away"]),
    )
    return Example(str(i), text, target, rejected=rejected)


def make_task(count: int = 60) -> Task:
    rng = random.Random(0)
    rows = tuple(example(i, rng) for i in range(count))
    cut = count // 4
    return Task(SPEC, rows[: -2 * cut], rows[-2 * cut : -cut], rows[-cut:])


@pytest.mark.parametrize("family", ["llama", "opt", "gemma2", "mistral", "gpt2"])
def test_a_prompt_computed_once_gives_the_same_log_probabilities(family):
    model, task = tiny.model(family), make_task()
    with model.backend.session(model.adaptation) as session:
        rows = preference_rows(model, session, task.train[:6])
        shared = row_logprobs(session, rows)
        apart = answer_logprobs(session, batch_of(session, rows))
    assert shared.shape == apart.shape == (6, 2)
    assert torch.allclose(shared, apart, atol=2e-4), (shared - apart).abs().max()


def test_gradients_are_those_of_rows_apart():
    model, task = tiny.model("llama"), make_task()
    found = []
    for read in (row_logprobs, lambda s, r: answer_logprobs(s, batch_of(s, r))):
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": 4,
            "target_modules": "all-linear",
        }
        adaptation = replace(model.adaptation, adapter=Adapter(config, {}))
        torch.manual_seed(0)
        with model.backend.session(adaptation) as session:
            rows = preference_rows(model, session, task.train[:4])
            weights = [p for p in session.peft.parameters() if p.requires_grad]
            loss = DPOLoss(beta=0.5).loss(rows, read(session, rows))
            found.append(torch.autograd.grad(loss, weights))
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_an_encoder_decoder_reads_the_answers_apart():
    model, task = tiny.model("t5"), make_task()
    with model.backend.session(model.adaptation) as session:
        rows = preference_rows(model, session, task.train[:3])
        assert row_logprobs(session, rows).shape == (3, 2)


def trl_batch(session, rows):
    """The rows as TRL's collators put them: chosen first, then rejected, padded on the right."""
    whole = [
        row.prompt + list(answer) for j in (0, 1) for row in rows for answer in [row.answers[j]]
    ]
    starts = [row.start for _ in (0, 1) for row in rows]
    width = max(map(len, whole))
    ids = torch.tensor([w + [0] * (width - len(w)) for w in whole])
    mask = torch.tensor([[1] * len(w) + [0] * (width - len(w)) for w in whole])
    answers = torch.tensor(
        [
            [0] * s + [1] * (len(w) - s) + [0] * (width - len(w))
            for w, s in zip(whole, starts, strict=True)
        ]
    )
    return ids, mask, answers


@pytest.fixture
def moved():
    """A tiny model under a LoRA that has left its reference, with rows read before it left."""
    pytest.importorskip("trl")
    model, task = tiny.model("llama"), make_task()
    with model.backend.session(replace(model.adaptation, adapter=Adapter(CONFIG, {}))) as session:
        dpo, kto = DPOLoss(beta=0.3), KTOLoss(beta=0.3)
        pairs = dpo.rows(model, session, task.train[:6], virtual_tokens=0)
        singles = kto.rows(model, session, task.train[:4], virtual_tokens=0)
        pairs, singles = dpo.ready(session, pairs), kto.ready(session, singles)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in session.peft.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        yield session, pairs, singles


def reference_is_the_base(trainer):
    """TRL keeps a copy of the adapter as its reference; without its B it is the base."""
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if ".ref." in name and "lora_B" in name:
                parameter.zero_()


@pytest.mark.slow
def test_dpo_is_that_of_trl(moved, tmp_path):
    import datasets
    import trl

    session, rows, _ = moved
    ours = DPOLoss(beta=0.3).loss(rows, row_logprobs(session, rows))
    ids, mask, answers = trl_batch(session, rows)
    trainer = trl.DPOTrainer(
        model=session.peft,
        args=trl.DPOConfig(
            output_dir=str(tmp_path), beta=0.3, report_to=[], bf16=False, use_cpu=True,
            gradient_checkpointing=False,
        ),
        train_dataset=datasets.Dataset.from_list(
            [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 2
        ),
        processing_class=session.tokenizer,
    )  # fmt: skip
    inputs = {"input_ids": ids, "attention_mask": mask, "completion_mask": answers}
    reference_is_the_base(trainer)
    theirs = trainer._compute_loss(trainer.model, inputs, return_outputs=False)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-4)
    assert float(ours.detach()) != pytest.approx(0.6931, abs=1e-3)  # it has left its reference


@pytest.mark.slow
def test_kto_is_that_of_trl(moved, tmp_path):
    import datasets
    import trl

    session, _, rows = moved
    ours = KTOLoss(beta=0.3, desirable_weight=1.2).loss(rows, row_logprobs(session, rows))
    ids, mask, answers = trl_batch(session, rows)
    count = len(rows)
    trainer = trl.KTOTrainer(
        model=session.peft,
        args=trl.KTOConfig(
            output_dir=str(tmp_path), beta=0.3, desirable_weight=1.2, report_to=[], bf16=False,
            use_cpu=True, gradient_checkpointing=False, per_device_train_batch_size=2,
        ),
        train_dataset=datasets.Dataset.from_list(
            [{"prompt": "a", "completion": "b", "label": True},
             {"prompt": "c", "completion": "d", "label": False}] * 2
        ),
        processing_class=session.tokenizer,
    )  # fmt: skip
    inputs = {
        "input_ids": ids[:count], "attention_mask": mask[:count],
        "completion_mask": answers[:count],
        "KL_input_ids": ids[count:], "KL_attention_mask": mask[count:],
        "KL_completion_mask": answers[count:], "label": torch.tensor([row.good for row in rows]),
    }  # fmt: skip
    reference_is_the_base(trainer)
    theirs = trainer._compute_loss(trainer.model, inputs, return_outputs=False)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-4)


def margin(model, task):
    """How much likelier the better answer is than the worse one, over the test split."""
    with model.backend.session(model.adaptation) as session, torch.inference_mode():
        rows = preference_rows(model, session, task.test)
        found = row_logprobs(session, rows)
    return float((found[:, 0] - found[:, 1]).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    "technique",
    [
        DPO(learning_rates=(3e-3,), beta=0.1, gates=False),
        KTO(learning_rates=(3e-3,), beta=0.1, gates=False),
    ],
)
def test_preferences_are_learnt_and_go_on_from_an_adapter(technique):
    model, task = tiny.model("llama"), make_task()
    start = margin(model.adapt(prompt=task.base_prompt()), task)
    tuned = technique.fit(model, task.without_test(), budget=Budget(tokens=60_000))
    assert margin(tuned, task) > start + 1.0
    assert tuned.lineage.technique == technique.name
    assert tuned.lineage.fit.spent_tokens <= 66_000
    further = technique.fit(tuned, task.without_test(), budget=Budget(tokens=40_000))
    assert further.lineage.parent == tuned.lineage
    assert margin(further, task) > margin(tuned, task) - 0.5


def test_one_class_only_is_refused():
    model, task = tiny.model("llama"), make_task()
    with model.backend.session(model.adaptation) as session:
        good = [replace(e, rejected=None) for e in task.train]
        with pytest.raises(TechniqueError, match="are good, and kto learns from both"):
            kto_rows(model, session, good)
        bad = [replace(e, target="") for e in task.train]
        with pytest.raises(TechniqueError, match="are bad"):
            kto_rows(model, session, bad)
        with pytest.raises(TechniqueError, match="no pair of a better"):
            preference_rows(model, session, good)


def test_a_task_names_its_worse_answers():
    rows = [
        {"input": f"q{i}", "target": f"good {i}", "worse": "bad" if i else "good 0"}
        for i in range(40)
    ]
    task = Task.from_examples(
        rows, input="input", target="target", rejected="worse", kind="generate", instruction="x"
    )
    everything = [*task.train, *task.dev, *task.test]
    assert sum(e.rejected is None for e in everything) == 1  # where it is the target itself
    assert DPO().unmet_by_task(task) is None
    plain = Task.from_examples(
        rows, input="input", target="target", kind="generate", instruction="x"
    )
    assert "name their column" in DPO().unmet_by_task(plain)
    assert plain.fingerprint != task.fingerprint
    with pytest.raises(TaskError, match="belongs to answers in free text"):
        Task.from_examples(rows, input="input", target="target", rejected="worse", instruction="x")


@pytest.mark.parametrize("text", ["dpo", "kto", "rejection", "ppo", "lora -> dpo(beta=0.2)"])
def test_they_are_written_as_other_techniques_are(text):
    parse_technique(text)


def test_settings_that_hold_to_nothing_are_refused():
    with pytest.raises(TechniqueError, match="holds the model to nothing"):
        DPO(beta=0.0)
    with pytest.raises(TechniqueError, match="nothing to choose"):
        parse_technique("rejection(samples=1)")


def test_a_budget_that_the_reference_uses_up_is_refused_with_what_it_takes():
    with pytest.raises(BudgetError, match="do not reach for the reference") as caught:
        KTO().fit(tiny.model("llama"), make_task(), budget=Budget(tokens=200))
    assert "Give at least" in str(caught.value.next_step)


@pytest.mark.parametrize("technique", [DPO, KTO])
def test_the_reference_reads_the_rows_that_the_budget_reaches_for(technique, monkeypatch):
    from luthier.training import objectives

    read: list[int] = []
    real = objectives.reference_logprobs

    def counted(session, rows):
        read.append(len(rows))
        return real(session, rows)

    monkeypatch.setattr(objectives, "reference_logprobs", counted)
    task, spent = make_task(), {}
    for tokens in (2_500, 60_000):
        read.clear()
        fitted = technique().fit(tiny.model("llama"), task, budget=Budget(tokens=tokens))
        spent[tokens] = read[0]
    assert fitted.lineage is not None
    assert (fitted.lineage.fit.spent_tokens or 0) <= 60_000
    assert 4 <= spent[2_500] < spent[60_000]
