"""Soft prompts the fast ways: equal to the plain path, alone or many at a time."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from luthier.context import WorkContext, working
from luthier.records import Budget
from luthier.techniques.soft.soft_prompt import SoftPrompt
from luthier.training.fit import TrainingSettings, dev_plan
from luthier.training.loop import SEARCH_SHARE, Schedule, TrainingLoop
from luthier.training.objectives import LanguageModelLoss
from luthier.training.parameters import SoftPromptParameters
from luthier.training.prompt_tuning import cached_attention
from luthier.training.prompt_tuning.cached_inputs import CachedInputs
from luthier.training.prompt_tuning.trials import SoftTrials
from luthier.training.rows import TrainRow
from luthier.training.sequential_trials import SequentialTrials
from luthier.training.starting_prompt import starting_model
from luthier.training.trainable import FROZEN_BASE
from tests import tiny
from tests.test_training import Killed, make_task

FAMILIES = ["llama", "qwen3", "gpt2", "opt", "gemma2", "gemma3", "mistral"]


@pytest.fixture(scope="module")
def task():
    return make_task()


def some_rows(*, bos: bool) -> list[TrainRow]:
    """Ragged prompts longer than tiny Gemma's window of 9, and ragged answers."""
    generator = torch.Generator().manual_seed(0)
    out = []
    for prompt, answer in ((14, 1), (23, 4), (5, 2), (14, 3)):
        ids = torch.randint(3, 300, (prompt + answer,), generator=generator).tolist()
        out.append(TrainRow([1, *ids[1:]] if bos else ids, prompt))
    return out


def losses(trainable, rows, trials):
    """The language-model loss of each trial."""
    return [LanguageModelLoss().loss(rows, found) for found in trainable.logprobs(rows, trials)]


def some_trials(width: int, bottleneck: int | None = None) -> list[SoftPromptParameters]:
    generator = torch.Generator().manual_seed(1)
    starts = [torch.randn(p, width, generator=generator) for p in (3, 6, 1)]
    return [SoftPromptParameters(s, bottleneck=bottleneck) for s in starts]


@pytest.mark.parametrize("longer", [0, 10_000])
@pytest.mark.parametrize("placement", ["before", "after"])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_equal_the_plain_path(family, placement, longer, monkeypatch):
    monkeypatch.setattr(
        cached_attention, "LONGER", longer
    )  # 0: plain products, else the fused attention
    backend = tiny.backend(family)
    rows = some_rows(bos=family != "gpt2")
    with backend.session(tiny.model(family).adaptation) as session:
        parameters = some_trials(32)
        fast = SoftTrials(session, parameters, placement=placement)
        plain = SequentialTrials(session, parameters, cost_factor=FROZEN_BASE, placement=placement)
        fast.prepare(rows)
        found = []
        for trials in (plain, fast, fast):  # the second time the inputs are held already
            each = torch.stack(losses(trials, rows, [0, 1, 2]))
            grads = torch.autograd.grad(each.sum(), [p.tokens for p in parameters])
            found.append((each.detach(), grads))
    for each, grads in found[1:]:
        assert torch.allclose(each, found[0][0], atol=2e-5)
        for mine, theirs in zip(grads, found[0][1], strict=True):
            assert torch.allclose(mine, theirs, atol=2e-5)
            assert theirs.abs().max() > 1e-3


@pytest.mark.parametrize("longer", [0, 10_000])
def test_the_last_layer_runs_for_what_is_read(longer, monkeypatch):
    monkeypatch.setattr(cached_attention, "LONGER", longer)
    rows, seen = some_rows(bos=True), []
    with tiny.backend("llama").session(tiny.model("llama").adaptation) as session:
        trials = SoftTrials(session, some_trials(32), placement="after")
        trials.prepare(rows)
        trials.replay(rows)
        cached_attention.supports_split_attention(session)  # tried once for each base
        layers = session.module.model.layers
        hooks = [
            layer.mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
            for layer in (layers[0], layers[-1])
        ]
        trials.logprobs(rows, [1])
        for hook in hooks:
            hook.remove()
    # Six virtual tokens and three of the longest answer; its four tokens are predicted.
    assert seen == [9, 4]
    assert "forward" not in vars(layers[-1])


@pytest.mark.parametrize("placement", ["before", "after"])
def test_shared_beginnings_change_nothing(placement):
    backend = tiny.backend("llama")
    head = list(range(20, 45))
    rows = [TrainRow([1, *head, *r.ids[1:]], r.start + len(head)) for r in some_rows(bos=True)]
    with backend.session(tiny.model("llama").adaptation) as session:
        fast = SoftTrials(session, some_trials(32), placement=placement)
        plain = SequentialTrials(session, fast.trials, cost_factor=FROZEN_BASE, placement=placement)
        fast.prepare(rows)
        whole = plain.cost(rows, [0])
        found = [torch.stack(losses(t, rows, [0, 1])).detach() for t in (plain, fast)]
        assert torch.allclose(found[0], found[1], atol=2e-5)
        assert fast.cost(rows, [0]) < whole / 2


def test_dev_evaluations_equal_those_of_the_scorer(task):
    model = tiny.model("gemma3")
    for placement in ("before", "after"):
        ready = starting_model(model, task, style="bare")
        with model.backend.session(ready.adaptation) as session:
            parameters = some_trials(32)
            fast = SoftTrials(session, parameters, placement=placement)
            plain = SequentialTrials(
                session, parameters, cost_factor=FROZEN_BASE, placement=placement
            )
            a = fast.dev_evaluator(ready, task.dev, LanguageModelLoss())
            b = plain.dev_evaluator(ready, task.dev, LanguageModelLoss())
            assert a([0, 2])[0] == pytest.approx(b([0, 2])[0], abs=1e-4)
            assert a([0])[0] == pytest.approx(b([0])[0], abs=1e-4)


def test_an_input_is_charged_once(task):
    model = tiny.model("llama")
    rows = some_rows(bos=True)
    with model.backend.session(model.adaptation) as session:
        after = SoftTrials(session, some_trials(32), placement="after")
        after.prepare(rows)
        prompts = sum(r.start for r in rows)
        answers = sum(len(r.answer) - 1 for r in rows)
        moving = FROZEN_BASE * (6 * len(rows) + answers)
        assert after.cost(rows, [1]) == prompts + moving
        after.logprobs(rows, [1])
        assert after.cost(rows, [1]) == moving
        assert after.cost(rows, [0, 1]) == moving + FROZEN_BASE * (3 * len(rows) + answers)


def test_a_full_cache_keeps_half_precision_and_then_computes_anew():
    backend = tiny.backend("llama")
    prompts = [r.prompt for r in some_rows(bos=True)]
    total = sum(len(p) for p in prompts)
    token = 3 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width, bytes
    with backend.session(tiny.model("llama").adaptation) as session:
        roomy = CachedInputs(session, prompts)
        exact = roomy.take(prompts)
        assert roomy.cached_bytes == total * token
        half = CachedInputs(session, prompts, most_bytes=total * token // 2)
        half.take(prompts)
        assert half.missing(prompts) == 0
        assert half.cached_bytes == total * token // 2
        tight = CachedInputs(session, prompts, most_bytes=30 * token // 2)
        tight.take(prompts)
        assert 0 < tight.missing(prompts) < total
        for cache, close in ((roomy, 0.0), (half, 0.02), (tight, 0.02)):
            again = cache.take(prompts)
            for (k, v), (k0, v0) in zip(again.layers, exact.layers, strict=True):
                for r, n in enumerate(exact.lengths):
                    assert torch.allclose(k[r, :, :n], k0[r, :, :n], atol=close, rtol=close)
                    assert torch.allclose(v[r, :, :n], v0[r, :, :n], atol=close, rtol=close)


@pytest.mark.parametrize("placement", ["before", "after"])
def test_a_trial_among_many_ends_as_it_would_alone(placement, task):
    model = tiny.model("llama")
    rows = some_rows(bos=True) * 3
    rates = (0.1, 0.3, 0.03)

    def run(which):
        with model.backend.session(model.adaptation) as session:
            parameters = [some_trials(32, bottleneck=4)[k] for k in which]
            for trial in parameters:  # the bottleneck starts from the global generator
                generator = torch.Generator().manual_seed(len(trial.tokens))
                for p in trial.parameters()[1:]:
                    p.data.normal_(0, 0.1, generator=generator)
            trials = SoftTrials(session, parameters, placement=placement)
            trials.prepare(rows)
            steps = 12 * sum(trials.cost(rows[:4], [k]) for k in range(len(which)))
            schedule = Schedule(steps, (tuple(rates[k] for k in which),), batch_size=4)
            fit = TrainingLoop(
                trials, LanguageModelLoss(), rows=rows,
                evaluate_dev=lambda active: ([0.0 for _ in active], 0),
                schedule=replace(schedule, evaluations=1), seed=0,
            )  # fmt: skip
            fit.at.allotted = steps
            for k in range(len(which)):
                fit.optimisers[k] = fit._optimiser(k)
            fit.at.active = list(range(len(which)))
            for _ in range(8):
                fit._step(rows[:4], 1.0)
            return [trial.soft().detach() for trial in parameters]

    together = run([0, 1, 2])
    for k in range(3):
        assert torch.allclose(together[k], run([k])[0], atol=1e-4)


def test_halving_keeps_the_better_rates(task):
    model = tiny.model("llama")
    technique = SoftPrompt(tokens=3, learning_rates=(0.001, 1.3, 0.3, 0.0001), placement="after")
    fitted = technique.fit(model, task.without_test(), budget=Budget(tokens=60_000), seed=0)
    history = fitted.lineage.fit.history
    rungs = {}
    for h in history:
        if h.stage == "search":
            rungs.setdefault(h.step, {})[h.trial] = h.dev_score
    first, second = (rungs[s] for s in sorted(rungs))
    assert set(second) == set(sorted(first, key=lambda k: -first[k])[:2])
    assert {h.trial for h in history if h.stage == "train"} == {max(second, key=second.get)}
    assert fitted.lineage.fit.spent_tokens <= 60_000


def test_every_rung_of_a_wide_search_trains(task):
    model = tiny.model("llama")
    wide = SoftPrompt(
        tokens=3, learning_rates=tuple(0.01 * 2**k for k in range(8)), placement="after"
    )
    fitted = wide.fit(model, task.without_test(), budget=Budget(tokens=110_000), seed=0)
    live: dict[int, int] = {}
    for h in fitted.lineage.fit.history:
        if h.stage == "search":
            live[h.step] = live.get(h.step, 0) + 1
    assert [live[s] for s in sorted(live)] == [8, 4, 2]


def test_dev_evaluations_of_a_wide_search_leave_tokens_to_train_with():
    each, once, tokens = 6 - 4 + 8, 16, 80_000  # as `dev_plan` counts these rows
    rows = [TrainRow([1] * 20, 16)] * 10
    trainable = SimpleNamespace(
        cost_factor=2,
        one_time_cost=lambda rows: once * len(rows),
        cost=lambda rows, trials: (once + 2 * 6 * len(trials)) * len(rows),
    )

    def found(candidates: int) -> int:
        settings = TrainingSettings(tokens, (0.1,), 4, label_tokens=8)
        return dev_plan(trainable, rows, settings, candidates=candidates).examples

    assert found(1) == found(2) == tokens // 8 // (once + 5 * each)
    assert 2 * found(8) * (once + 8 * each) <= tokens * SEARCH_SHARE / 3
    assert found(8) > 16


@pytest.mark.parametrize("at", [0.1, 0.2, 0.5])
def test_a_killed_search_of_many_ends_like_an_unbroken_one(at, task, tmp_path, monkeypatch):
    import luthier.training.checkpoint as checkpoint
    import luthier.training.prompt_tuning.cached_inputs as cached_inputs

    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(cached_inputs, "MOST_BYTES", 200_000)  # some inputs are not held
    model = tiny.model("llama")
    technique = SoftPrompt(
        tokens=3, learning_rates=(0.1, 0.3, 1.3), placement="after", bottleneck=4, votes=2
    )
    locked, budget = task.without_test(), Budget(tokens=50_000)
    whole = technique.fit(model, locked, budget=budget, seed=3)
    assert whole.adaptation.soft_prompt.tensor.shape == (2, 3, 32)

    def die(done, total, message):
        if done > at * total:
            raise Killed

    with working(WorkContext(progress=die, folder=tmp_path)), pytest.raises(Killed):
        technique.fit(model, locked, budget=budget, seed=3)
    with working(WorkContext(folder=tmp_path)):
        resumed = technique.fit(model, locked, budget=budget, seed=3)
    assert torch.equal(resumed.adaptation.soft_prompt.tensor, whole.adaptation.soft_prompt.tensor)
    assert resumed.lineage.fit.history == whole.lineage.fit.history


def test_the_plain_engine_gives_the_same_soft_prompt(task, monkeypatch):
    model = tiny.model("llama")
    technique = SoftPrompt(tokens=3, learning_rates=(0.3,), placement="after")
    locked = task.without_test()
    fast = technique.fit(model, locked, budget=Budget(tokens=6_000), seed=0)
    monkeypatch.setenv("LUTHIER_ENGINE", "plain")
    plain = technique.fit(model, locked, budget=Budget(tokens=6_000), seed=0)
    # The plain path pays for the inputs at every step: fewer steps for the same tokens.
    assert plain.lineage.fit.training.steps < fast.lineage.fit.training.steps / 2
