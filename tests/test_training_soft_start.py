"""Soft prompts that begin as demonstrations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import luthier
from luthier.errors import TechniqueError
from luthier.models.answering import render_for
from luthier.models.prompt import Demonstration, Prompt
from luthier.records import Budget
from luthier.techniques.soft.soft_prompt import SoftPrompt
from luthier.training.prompt_tuning.initialization import from_demonstrations
from luthier.training.starting_prompt import starting_model
from tests import tiny
from tests.test_training import make_task


@pytest.fixture(scope="module")
def task():
    return make_task()


def logprobs(model, examples):
    return [list(a.label_logprobs.values()) for a in model.answer(examples)]


def test_before_training_it_answers_as_few_shot_prompting_does(task):
    model = luthier.load("nano")
    bare = starting_model(model, task, style="bare")
    with model.backend.session(bare.adaptation) as session:
        begun = from_demonstrations(session, bare, task, 512, 0)
    assert begun is not None
    assert sorted(e.target for e in begun.examples) == sorted(task.labels)
    shown = tuple(Demonstration(e.input, e.target, e.context) for e in begun.examples)
    prompt = replace(bare.adaptation.prompt, demonstrations=shown)
    soft = luthier.models.adaptation.VirtualTokens(begun.start.unsqueeze(0), "before")
    torch.testing.assert_close(
        torch.tensor(logprobs(bare.adapt(soft_prompt=soft), task.dev[:4])),
        torch.tensor(logprobs(bare.adapt(prompt=prompt), task.dev[:4])),
        atol=2e-3,
        rtol=1e-3,
    )


def test_what_is_shown_is_not_trained_on_and_the_record_tells_the_start(task, monkeypatch):
    from luthier.training import objectives

    seen = []
    rows_for = objectives.rows_for
    monkeypatch.setattr(
        objectives, "rows_for", lambda m, s, examples, **named: (
            seen.append([e.id for e in examples]) or rows_for(m, s, examples, **named)
        ),
    )  # fmt: skip
    fitted = SoftPrompt().fit(luthier.load("nano"), task, budget=Budget(tokens=20_000), seed=0)
    settled = fitted.lineage.fit.settled
    assert settled["init"] == "demonstrations"
    assert len(seen[0]) == len(task.train) - len(task.labels)
    assert fitted.adaptation.soft_prompt.placement == "before"
    assert settled["virtual_tokens"] == fitted.adaptation.soft_prompt.tensor.shape[1]
    # Every request is as short as a bare one.
    text = render_for(fitted, task.dev[:1])[0].text
    assert all(e.input not in text for e in task.train)


@pytest.mark.parametrize(
    ("technique", "change"),
    [
        (SoftPrompt(tokens=5), {}),  # no room for one of each label
        (SoftPrompt(placement="after"), {}),
        (SoftPrompt(), {"prompt": Prompt(instruction="Say which.")}),  # a prompt of its own
    ],
)
def test_where_demonstrations_do_not_fit_it_begins_at_the_labels(technique, change, task):
    model = tiny.model("llama").adapt(**change)
    fitted = technique.fit(model, task, budget=Budget(tokens=9_000), seed=0)
    settled = fitted.lineage.fit.settled
    assert (settled["init"], fitted.adaptation.soft_prompt.placement) == ("labels", "after")
    assert settled["virtual_tokens"] == (technique.tokens or 8)


def test_demonstrations_after_the_input_are_refused():
    with pytest.raises(TechniqueError, match="after the input"):
        SoftPrompt(init="demonstrations", placement="after")
    with pytest.raises(TechniqueError, match="init='words' is unknown"):
        SoftPrompt(init="words")


def test_votes_begin_at_different_demonstrations_of_one_length(task):
    fitted = SoftPrompt(votes=2).fit(
        luthier.load("nano"), task, budget=Budget(tokens=25_000), seed=0
    )
    tensor = fitted.adaptation.soft_prompt.tensor
    assert tensor.shape[0] == 2
    assert not torch.equal(tensor[0], tensor[1])


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_over_an_encoder_decoder_it_begins_at_the_labels_before_the_input(family, task):
    model = tiny.model(family)
    fitted = SoftPrompt().fit(model, task, budget=Budget(tokens=60_000), seed=0)
    settled, soft = fitted.lineage.fit.settled, fitted.adaptation.soft_prompt
    assert (settled["init"], settled["virtual_tokens"], soft.placement) == ("labels", 20, "before")
    assert task.instruction not in render_for(fitted, task.dev[:1])[0].text
    longer = SoftPrompt(tokens=5, prompt="task").fit(model, task, budget=Budget(tokens=60_000))
    prompt = render_for(longer, task.dev[:1])[0].text
    assert task.instruction in prompt
    assert all(label in prompt for label in task.labels)
    assert longer.adaptation.soft_prompt.tensor.shape[1] == 5


def test_votes_that_begin_at_words_begin_apart(task):
    model = tiny.model("bart")
    for init in ("labels", "text", "vocabulary"):
        technique = SoftPrompt(tokens=12, votes=3, init=init, learning_rates=(0.3,))
        fitted = technique.fit(model, task, budget=Budget(tokens=60_000), seed=0)
        one, two, three = fitted.adaptation.soft_prompt.tensor
        assert not torch.allclose(one, two, atol=1e-3)
        assert not torch.allclose(two, three, atol=1e-3)


def test_passes_are_known_where_every_row_is_computed_whole(task):
    few = SoftPrompt().passes(tiny.model("bart"), task, 60_000)
    more = SoftPrompt().passes(tiny.model("bart"), task, 240_000)
    voted = SoftPrompt(votes=2).passes(tiny.model("bart"), task, 240_000)
    assert few is not None
    assert more is not None
    assert voted is not None
    assert 0 < few < voted < more
    assert SoftPrompt().passes(tiny.model("llama"), task, 60_000) is None
