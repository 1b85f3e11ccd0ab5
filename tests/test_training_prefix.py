"""Prefixes that begin as the keys and values of demonstrations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import luthier
from luthier.context import WorkContext, working
from luthier.errors import TechniqueError
from luthier.models.adaptation import Adapter
from luthier.models.answering import label_continuations, render_for
from luthier.models.backend import GenerateRequest, ScoreRequest
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.models.storage import open_adaptation
from luthier.records import Budget
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.soft.prefix_tuning import PrefixTuning
from luthier.training.dev_eval import dev_evaluation, dev_examples
from luthier.training.objectives import LanguageModelLoss
from luthier.training.parameters import KeysAndValues
from luthier.training.prompt_tuning.initialization import from_demonstrations
from luthier.training.prompt_tuning.prefixes import PrefixTrials, keys_and_values, scales
from luthier.training.rows import answer_logprobs, batch_of
from luthier.training.starting_prompt import starting_model
from luthier.training.trainable import FROZEN_BASE
from tests import tiny
from tests.test_training import Killed, make_task
from tests.test_training_soft import losses, some_rows

FAMILIES = ["llama", "qwen3", "gpt2", "opt", "gemma2", "gemma3", "mistral"]
UNMOVED = PrefixTuning(learning_rates=(1e-12,))


@pytest.fixture(scope="module")
def task():
    return make_task()


def logprobs(model, examples):
    return torch.tensor([list(a.label_logprobs.values()) for a in model.answer(examples)])


def few_shot(model, task, most):
    """The prompt with the demonstrations that a prefix of seed 0 begins as."""
    bare = starting_model(model, task, style="bare")
    with model.backend.session(bare.adaptation) as session:
        begun = from_demonstrations(session, bare, task, most, 0)
    shown = tuple(Demonstration(e.input, e.target, e.context) for e in begun.examples)
    return bare.adapt(prompt=replace(bare.adaptation.prompt, demonstrations=shown))


@pytest.mark.parametrize("family", FAMILIES)
def test_before_training_it_answers_as_few_shot_prompting_does(family, task):
    model = tiny.model(family)
    fitted = UNMOVED.fit(model, task.without_test(), budget=Budget(tokens=4_000))
    assert fitted.lineage.fit.settled["init"] == "demonstrations"
    assert fitted.adaptation.adapter.starts_with_bos == (family != "gpt2")  # that one knows no BOS
    shown = few_shot(model, task, 128)
    expected = logprobs(shown, task.dev[:4])
    torch.testing.assert_close(logprobs(fitted, task.dev[:4]), expected, atol=2e-3, rtol=1e-3)
    # And writes as it does.
    said = []
    for m in (fitted, shown):
        said_freely = replace(m.adaptation.decoding, labels=(), max_new_tokens=6)
        free = replace(m.adaptation, decoding=said_freely)
        prompts = render_for(m, task.dev[:3])
        requests = [GenerateRequest(p) for p in prompts]
        said.append([g.text for g in m.backend.generate(requests, free)])
    assert said[0] == said[1]


def test_nano_too(task):
    model = luthier.load("nano")
    fitted = UNMOVED.fit(model, task.without_test(), budget=Budget(tokens=4_000))
    expected = logprobs(few_shot(model, task, 512), task.dev[:4])
    torch.testing.assert_close(logprobs(fitted, task.dev[:4]), expected, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_gradients_and_looks_equal_those_behind_a_peft_prefix(family, task):
    backend, rows = tiny.backend(family), some_rows(bos=family != "gpt2")
    ready = starting_model(Model(backend), task, style="bare")
    with backend.session(ready.adaptation) as session:
        start = keys_and_values(session, [1, *range(30, 47)])
        trial_parameters = KeysAndValues(start.flatten(1), scales(start))
        trials = PrefixTrials(session, [trial_parameters], start.shape[1:])
        trials.prepare(rows)
        loss = losses(trials, rows, [0])[0]
        (mine,) = torch.autograd.grad(loss, [trial_parameters.tokens])
        dev_scores = trials.dev_evaluator(ready, task.dev, LanguageModelLoss())([0])[0]
    config = {"peft_type": "PREFIX_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 18}
    adapter = Adapter(config, {"prompt_embeddings": start.flatten(1)})
    with backend.session(replace(ready.adaptation, adapter=adapter)) as session:
        weight = session.peft.prompt_encoder["default"].embedding.weight
        # Row by row: padding between a prefix and its row would lie in a sliding window.
        each = [answer_logprobs(session, batch_of(session, [r])) for r in rows]
        plain = -torch.cat(each).sum() / sum(len(r.answer) for r in rows)
        (theirs,) = torch.autograd.grad(plain, [weight])
        by_scorer = dev_evaluation(ready, lambda: session, task.dev, LanguageModelLoss())()[0]
    assert torch.allclose(loss, plain, atol=2e-5)
    assert torch.allclose(mine, theirs * trial_parameters.scale, atol=2e-5)
    assert mine.abs().max() > 1e-3
    assert dev_scores == [pytest.approx(by_scorer, abs=1e-4)]


def test_a_step_is_charged_for_inputs_and_answers_and_the_prefix_once(task):
    model, rows = tiny.model("llama"), some_rows(bos=True)
    with model.backend.session(model.adaptation) as session:
        start = keys_and_values(session, list(range(1, 41)))
        trial_parameters = KeysAndValues(start.flatten(1), scales(start))
        trials = PrefixTrials(session, [trial_parameters, trial_parameters], start.shape[1:])
        trials.prepare(rows)
        ran = []
        handle = session.module.register_forward_pre_hook(
            lambda m, a, k: ran.append(k["inputs_embeds"].shape[:2].numel()), with_kwargs=True
        )
        trials.logprobs(rows, [0])
        handle.remove()
        tokens = sum(len(r.ids) - 1 for r in rows)  # an answer's last token is never read
        widest = max(r.start for r in rows) + max(len(r.answer) - 1 for r in rows)
        assert trials.cost(rows, [0]) == FROZEN_BASE * tokens
        assert trials.cost(rows, [0, 1]) == 2 * trials.cost(rows, [0])
        assert ran == [len(rows) * widest]  # with its padding; no column for the prefix
    short, long = (
        PrefixTuning(tokens=n).fit(
            model.adapt(prompt=Prompt(instruction="Say which.")), task.without_test(),
            budget=Budget(tokens=6_000),
        ).lineage.fit
        for n in (4, 100)
    )  # fmt: skip
    assert short.training.steps >= long.training.steps >= short.training.steps - 2
    assert long.spent_tokens <= 6_000 * 1.1


def test_what_is_shown_is_not_trained_on(task, monkeypatch):
    from luthier.training import objectives

    seen = []
    rows_for = objectives.rows_for
    monkeypatch.setattr(
        objectives, "rows_for", lambda m, s, examples, **named: (
            seen.append([e.id for e in examples]) or rows_for(m, s, examples, **named)
        ),
    )  # fmt: skip
    fitted = PrefixTuning().fit(tiny.model("llama"), task, budget=Budget(tokens=6_000))
    assert len(seen[0]) == len(task.train) - len(task.labels)
    text = render_for(fitted, task.dev[:1])[0].text
    assert all(e.input not in text for e in task.train)


def test_saved_and_scored_beside_others_it_answers_the_same(task, tmp_path):
    model, locked, budget = tiny.model("llama"), task.without_test(), Budget(tokens=6_000)
    prefix = PrefixTuning().fit(model, locked, budget=budget)
    lora = LoRA(rank=2).fit(model, locked, budget=budget)
    prefix.save(tmp_path / "m")
    loaded = Model(model.backend, open_adaptation(tmp_path / "m")[0])
    assert loaded.adaptation.adapter.starts_with_bos
    assert torch.equal(logprobs(prefix, task.test), logprobs(loaded, task.test))
    asked = []
    for fitted in (prefix, lora, model.adapt(decoding=lora.adaptation.decoding)):
        for prompt in render_for(fitted, task.test[:3]):
            request = ScoreRequest(prompt, label_continuations(fitted, prompt))
            asked.append((request, fitted.adaptation))
    for (request, adaptation), found in zip(asked, model.backend.score_mixed(asked), strict=True):
        alone = model.backend.score([request], adaptation)[0]
        assert found.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


@pytest.mark.parametrize(
    ("technique", "change"),
    [
        (PrefixTuning(tokens=5), {}),  # no room for one of each label
        (PrefixTuning(), {"prompt": Prompt(instruction="Say which.")}),  # a prompt of its own
    ],
)
def test_where_demonstrations_do_not_fit_it_begins_at_the_instruction(technique, change, task):
    model = tiny.model("llama").adapt(**change)
    fitted = technique.fit(model, task.without_test(), budget=Budget(tokens=6_000))
    settled = fitted.lineage.fit.settled
    assert (settled["init"], settled["virtual_tokens"]) == ("text", technique.tokens or 16)
    assert not fitted.adaptation.adapter.starts_with_bos


def test_it_trains_behind_a_soft_prompt(task):
    model, locked, budget = tiny.model("llama"), task.without_test(), Budget(tokens=8_000)
    soft = luthier.SoftPrompt(tokens=3, init="labels").fit(model, locked, budget=budget)
    both = PrefixTuning(tokens=4).fit(soft, locked, budget=budget)
    assert set(both.adaptation.filled) >= {"soft_prompt", "adapter"}
    with model.backend.session(both.adaptation) as session:
        dev = dev_examples(task, both.lineage.fit.training.dev_examples)
        found = dev_evaluation(both, lambda: session, dev, LanguageModelLoss())()[0]
    kept = max(h.dev_score for h in both.lineage.fit.history)
    assert found == pytest.approx(kept, abs=1e-4)  # what it trained is what it answers with


@pytest.mark.parametrize("at", [0.2, 0.6])
def test_a_killed_fit_ends_like_an_unbroken_one(at, task, tmp_path, monkeypatch):
    import luthier.training.checkpoint as checkpoint

    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    model, locked, budget = tiny.model("llama"), task.without_test(), Budget(tokens=30_000)
    technique = PrefixTuning(learning_rates=(0.03, 0.3))
    whole = technique.fit(model, locked, budget=budget, seed=3)
    assert {h.trial for h in whole.lineage.fit.history} == {0, 1}

    def die(done, total, message):
        if done > at * total:
            raise Killed

    with working(WorkContext(progress=die, folder=tmp_path)), pytest.raises(Killed):
        technique.fit(model, locked, budget=budget, seed=3)
    with working(WorkContext(folder=tmp_path)):
        resumed = technique.fit(model, locked, budget=budget, seed=3)
    for name, tensor in whole.adaptation.adapter.tensors.items():
        assert torch.equal(resumed.adaptation.adapter.tensors[name], tensor)


def test_an_adapter_in_place_and_lengths_of_nothing_are_refused(task):
    with pytest.raises(TechniqueError, match="no length"):
        PrefixTuning(tokens=0)
    held = tiny.model("llama").adapt(adapter=Adapter({}, {"x": torch.ones(1)}))
    with pytest.raises(TechniqueError, match="adapter slot"):
        PrefixTuning().fit(held, task.without_test(), budget=Budget(tokens=6_000))
