"""Objectives go with every trainable: the language-model loss, and a preference loss made here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from luthier.models.adaptation import Adapter
from luthier.training.adapter_fit import AdapterParameters
from luthier.training.fit import TrainingSettings, fit
from luthier.training.objectives import LanguageModelLoss, Objective
from luthier.training.parameters import SoftPromptParameters
from luthier.training.prompt_tuning.trials import SoftTrials
from luthier.training.rows import TrainRow, answer_logprobs, batch_of, rows_for
from luthier.training.sequential_trials import SequentialTrials
from luthier.training.starting_prompt import starting_model
from luthier.training.trainable import FROZEN_BASE
from tests import tiny
from tests.test_training import make_task


@dataclass(frozen=True, slots=True)
class PreferenceRow(TrainRow):
    """A row whose first answer is preferred, and what the untrained model thinks of both."""

    rejected: tuple[int, ...] = ()
    reference: tuple[float, float] = (0.0, 0.0)

    @property
    def answers(self):
        return (self.answer, list(self.rejected))

    @property
    def tokens(self):
        return 2 * self.start + len(self.answer) + len(self.rejected)


class PreferenceLoss(Objective):
    """DPO (arXiv:2305.18290, equation 7): -log sigmoid(β ((π_w - π_l) - (ref_w - ref_l)))."""

    name = "dpo"

    def rows(self, model, session, examples, *, virtual_tokens):
        labels = model.adaptation.decoding.labels
        chosen = rows_for(model, session, examples, virtual_tokens=virtual_tokens)
        others = [labels[1 - labels.index(e.target)] for e in examples]
        flipped = [replace(e, target=o) for e, o in zip(examples, others, strict=True)]
        rejected = rows_for(model, session, flipped, virtual_tokens=virtual_tokens)
        made = [
            PreferenceRow(c.ids, c.start, tuple(r.answer))
            for c, r in zip(chosen, rejected, strict=True)
        ]
        with torch.no_grad():
            found = [answer_logprobs(session, batch_of(session, [row]))[0] for row in made]
        return [replace(m, reference=tuple(f.tolist())) for m, f in zip(made, found, strict=True)]

    def loss(self, rows, logprobs):
        reference = torch.tensor([row.reference for row in rows])
        margin = (logprobs - reference)[:, 0] - (logprobs - reference)[:, 1]
        return -torch.nn.functional.logsigmoid(margin).mean()


@pytest.fixture(scope="module")
def task():
    return make_task().without_test()


def test_the_language_model_loss_is_the_mean_over_answer_tokens(task):
    model = tiny.model("llama")
    start = starting_model(model, task, style="bare")
    with model.backend.session(start.adaptation) as session:
        rows = LanguageModelLoss().rows(start, session, task.train[:5], virtual_tokens=0)
        found = LanguageModelLoss().loss(rows, answer_logprobs(session, batch_of(session, rows)))
        expected = []
        for row in rows:
            logits = session.module(torch.tensor([row.ids])).logits[0].log_softmax(-1)
            places = range(row.start - 1, len(row.ids) - 1)
            expected += [-logits[p, row.ids[p + 1]] for p in places]
    assert found.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)


@pytest.mark.parametrize("placement", ["before", "after"])
def test_two_answers_a_row_mean_the_same_on_the_fast_and_the_plain_path(placement, task):
    model = tiny.model("llama")
    start = starting_model(model, task, style="bare")
    with model.backend.session(start.adaptation) as session:
        rows = PreferenceLoss().rows(start, session, task.train[:5], virtual_tokens=3)
        tokens = torch.randn(3, 32, generator=torch.manual_seed(0))
        trials = [SoftPromptParameters(tokens, bottleneck=None)]
        fast = SoftTrials(session, trials, placement=placement)
        plain = SequentialTrials(session, trials, cost_factor=FROZEN_BASE, placement=placement)
        fast.prepare(rows)
        found = []
        for trainable in (fast, plain):
            (logprobs,) = trainable.logprobs(rows, [0])
            assert logprobs.shape == (5, 2)
            loss = PreferenceLoss().loss(rows, logprobs)
            found.append((loss, torch.autograd.grad(loss, trials[0].tokens)[0]))
        assert fast.cost(rows, [0]) < plain.cost(rows, [0])
    assert torch.allclose(found[0][0], found[1][0], atol=2e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=2e-5)
    assert found[0][1].abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["soft-prompt", "adapter"])
def test_a_preference_loss_trains_through_the_one_loop(kind, task):
    model = tiny.model("llama")
    start = starting_model(model, task, style="bare")
    adaptation = start.adaptation
    if kind == "adapter":
        config = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8,
            "target_modules": ["q_proj", "v_proj"],
        }  # fmt: skip
        adaptation = replace(adaptation, adapter=Adapter(config, {}))
    with torch.random.fork_rng(), model.backend.session(adaptation) as session:
        torch.manual_seed(0)
        if kind == "adapter":
            trainable = SequentialTrials(
                session, [AdapterParameters(session.peft)], cost_factor=FROZEN_BASE
            )
            rate = 0.02
        else:
            tokens = session.embeddings.weight.detach()[:4]
            trainable = SoftTrials(
                session, [SoftPromptParameters(tokens, bottleneck=None)], placement="after"
            )
            rate = 0.05
        settings = TrainingSettings(60_000, (rate,), 4)
        result = fit(
            start, task, trainable=trainable, objective=PreferenceLoss(), settings=settings, seed=0
        )
        losses = [entry.train_loss for entry in result.record.history]
    assert losses[0] < 0.75  # log 2 where nothing has been learnt
    assert losses[-1] < 0.4
