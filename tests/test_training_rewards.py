"""Reward models, rejection sampling, PPO, and the gates that catch a collapse."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from luthier.errors import TechniqueError
from luthier.models.adaptation import Adapter, Decoding
from luthier.records import Budget, Example, Kind
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.techniques.preference.dpo import DPO
from luthier.techniques.preference.kto import KTO
from luthier.techniques.preference.ppo_technique import PPO
from luthier.techniques.preference.rejection_sampling import RejectionSampling
from luthier.techniques.weights.full_fine_tuning import FullFineTuning
from luthier.training.adapter_fit import AdapterParameters
from luthier.training.health import (
    HealthLimits,
    HealthMonitor,
    HealthReading,
    health_problem,
    repetition,
)
from luthier.training.policy import Policy
from luthier.training.ppo import PPOSettings, answer_loss, gae, leave_one_out, run_ppo
from luthier.training.rejection import best_answers
from luthier.training.reward_training import (
    LARGE_MARGINS,
    RewardPair,
    RewardSettings,
    load_reward,
    train_reward,
)
from tests import tiny

GOOD, BAD = ["yes", "yes of course", "yes please"], ["no", "no way", "not now"]
CONFIG = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16,
    "target_modules": "all-linear",
}  # fmt: skip
SPEC = TaskSpec(
    name="tone", instruction="Answer.", kind=Kind.GENERATE, scorer="rouge-l",
    max_new_tokens=16, rejected="rejected",
)  # fmt: skip


def pairs(count=64, seed=0):
    rng = random.Random(seed)
    return [
        Example(f"{seed}-{i}", f"may I {rng.choice('abcdefgh')}{i}", rng.choice(GOOD),
                rejected=rng.choice(BAD))
        for i in range(count)
    ]  # fmt: skip


def task():
    rows = pairs()
    return Task(SPEC, tuple(rows[:44]), tuple(rows[44:56]), tuple(rows[56:]))


@pytest.fixture(scope="module")
def start():
    """A tiny model that says yes about as often as no, to any question."""
    coin = random.Random(1)  # of the question's number the answer would be learnt
    both = [replace(e, target=coin.choice((e.target, e.rejected))) for e in pairs(600)]
    mixed = Task(SPEC, tuple(both[:550]), tuple(both[550:575]), tuple(both[575:]))
    tuned = FullFineTuning(learning_rates=(3e-3,), batch_size=8, prompt="task")
    model = tuned.fit(tiny.model("llama"), mixed.without_test(), budget=Budget(tokens=160_000))
    return model.adapt(decoding=Decoding(max_new_tokens=16))


def says_yes(examples, answers):
    return [float("yes" in a) - float("no" in a) for a in answers]


def share_of_yes(model):
    answers = model.adapt(decoding=replace(model.adaptation.decoding, temperature=1.0)).answer(
        pairs(40, seed=9)
    )
    return sum("yes" in a.text for a in answers) / len(answers)


@pytest.mark.slow
def test_a_reward_model_tells_better_from_worse(start, tmp_path):
    graded = [RewardPair(e, "significantly") for e in pairs(120)]
    settings = RewardSettings(200_000, learning_rate=3e-3, epochs=3, margins=LARGE_MARGINS)
    reward, spent = train_reward(start, graded, settings)
    assert 0 < spent <= 200_000
    held_out = pairs(40, seed=5)
    with reward.opened() as live:
        better = live(held_out, [e.target for e in held_out])
        worse = live(held_out, [e.rejected for e in held_out])
        assert live.drift([e.target for e in held_out], better) < 0.3
        assert live.drift(["word " * 50] * 4, [0.0] * 4) == 1.0
    assert sum(b > w for b, w in zip(better, worse, strict=True)) >= 36
    reward.save(tmp_path / "reward")
    again = load_reward(tmp_path / "reward", model=start)
    with again.opened() as live:
        assert live(held_out[:3], [e.target for e in held_out[:3]]) == pytest.approx(
            better[:3], abs=1e-3
        )
    with pytest.raises(TechniqueError, match="all are ties"):
        train_reward(start, [RewardPair(e, "unsure") for e in pairs(8)], settings)


@pytest.mark.slow
def test_the_best_of_many_answers_is_kept(start):
    asked = pairs(16, seed=3)
    best, spent = best_answers(start, asked, says_yes, samples=6, temperature=1.2, seed=0)
    assert spent > 0
    assert len(best) > 8
    assert all(b.reward >= b.mean_reward for b in best)
    gained = [b.reward - b.mean_reward for b in best]
    assert sum(gained) / len(gained) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("technique", "tokens", "gain"),
    [
        (RejectionSampling(learning_rates=(3e-3,), samples=12), 150_000, 0.2),
        (PPO(learning_rate=3e-3, beta=0.02), 200_000, 0.2),
    ],
)
def test_the_model_learns_what_is_preferred(start, technique, tokens, gain):
    before = share_of_yes(start)
    tuned = technique.fit(start, task().without_test(), budget=Budget(tokens=tokens))
    assert share_of_yes(tuned) > before + gain
    assert tuned.lineage.technique == technique.name
    assert tuned.lineage.parent == start.lineage


@pytest.mark.slow
def test_a_collapse_is_caught_and_taken_back(start):
    """No KL price and a learning rate thirty times too high: answers fall apart."""
    runs = {}
    for gates in (True, False):
        adaptation = replace(start.adaptation, adapter=Adapter(CONFIG, {}))
        with start.backend.session(adaptation) as session:
            parameters = AdapterParameters(session.peft)
            policy = Policy(start, session, parameters)
            examples = list(task().dev) if gates else []
            monitor = HealthMonitor(policy, examples, HealthLimits(kl=15.0))
            done = run_ppo(
                policy, task().train, says_yes,
                settings=PPOSettings(200_000, learning_rate=30 * 3e-3, beta=0.0), monitor=monitor,
                seed=0,
            )  # fmt: skip
            rows = policy.rows(task().test, ["yes"] * len(task().test))
            gains, _, _ = policy.gains(rows)
            runs[gates] = (done, float(gains.abs().mean()), monitor)
    done, _, monitor = runs[True]
    assert done.collapse is not None
    assert len(monitor.readings) == done.iterations + 1
    assert runs[False][0].collapse is None
    # What was left is the state before the iteration that failed, near the start or at it.
    last_good = monitor.readings[-2]
    assert last_good.kl <= 15.0


GUARDED = TaskSpec(
    name="no", instruction="Answer.", kind=Kind.CLASSIFY, scorer="accuracy", labels=("yes", "no"),
    target_name="Answer",
)  # fmt: skip


def guarded_task():
    """A task whose right answer is always no."""
    rows = tuple(replace(e, target="no", rejected=None) for e in pairs(48, seed=7))
    return Task(GUARDED, rows[:16], rows[16:], ())


@pytest.mark.slow
@pytest.mark.parametrize(
    "technique",
    [
        DPO(learning_rates=(1e-3,), beta=0.3),
        KTO(learning_rates=(1e-3,), beta=0.3),
    ],
)
def test_a_fit_stops_where_a_task_that_the_model_had_gets_worse(start, technique):
    asked = {"budget": Budget(tokens=120_000), "seed": 0}
    learnt = task().without_test()
    free = technique.learn(start, learnt, **asked)
    watched = technique.learn(start, learnt, guarded=guarded_task(), **asked)
    assert "dev score" not in str(free.lineage.fit.notes)
    assert "dev score" in str(watched.lineage.fit.notes)
    assert share_of_yes(watched) <= share_of_yes(free)


@pytest.mark.slow
def test_ppo_goes_back_where_a_task_that_the_model_had_gets_worse(start):
    ppo = PPO(learning_rate=3e-3, beta=0.02)
    tuned, record = ppo.improve(
        start, task().without_test(), says_yes, tokens=200_000, seed=0, guarded=guarded_task()
    )
    assert "dev score" in str(record.notes)
    assert share_of_yes(tuned) < 0.9


@pytest.mark.slow
def test_rejection_goes_back_where_a_task_that_the_model_had_gets_worse(start):
    kept = [replace(e, target="yes please", rejected=None) for e in pairs(44)]
    tuned = RejectionSampling(learning_rates=(3e-3,)).tune(
        start, task().without_test(), kept, tokens=120_000, seed=0, guarded=guarded_task()
    )
    assert "dev score" in str(tuned.lineage.fit.notes)
    assert share_of_yes(tuned) < 0.9


def test_a_dev_score_falls_only_beyond_its_noise():
    start = HealthReading(1.0, 5.0, 0.0, 1.0, 1.0, dev_scores=(1.0, 0.0) * 8)
    limits = HealthLimits(score_drop=0.1)
    noisy = replace(start, dev_scores=(0.0, 0.0, 0.0, 1.0) + (1.0, 0.0) * 6)
    assert health_problem(noisy, start, limits) is None  # .12 less, by three examples
    lost = health_problem(replace(start, dev_scores=(0.0,) * 16), start, limits)
    assert lost == "dev score 0.00 (0.50 at the start)"
    assert health_problem(replace(start, dev_scores=None), start, limits) is None


@pytest.mark.slow
def test_dpo_that_collapses_goes_back_and_says_so(start):
    wild = DPO(learning_rates=(0.3,), beta=0.001)
    tuned = wild.fit(start, task().without_test(), budget=Budget(tokens=60_000))
    assert any("last good state" in note for note in tuned.lineage.fit.notes)
    assert abs(share_of_yes(tuned) - share_of_yes(start)) < 0.35


def test_advantages_by_hand():
    rewards = torch.tensor([[0.0, 0.0, 1.0]])
    values = torch.tensor([[0.1, 0.2, 0.3]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    advantages, returns = gae(rewards, values, mask)
    last = 1.0 - 0.3
    middle = (0.3 - 0.2) + 0.95 * last
    first = (0.2 - 0.1) + 0.95 * middle
    assert torch.allclose(advantages, torch.tensor([[first, middle, last]]))
    assert torch.allclose(returns, advantages + values)
    found = leave_one_out(torch.tensor([1.0, 2.0, 6.0, 5.0, 5.0, 5.0]), 3)
    assert torch.allclose(found, torch.tensor([-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]))


@pytest.mark.slow
def test_the_answer_loss_is_rloo_of_trl(tmp_path):
    """TRL's own loss on the same log-probabilities, advantages and clip."""
    pytest.importorskip("trl")
    from collections import defaultdict
    from types import SimpleNamespace

    from trl import RLOOTrainer

    generator = torch.Generator().manual_seed(0)
    tokens = -torch.rand(6, 5, generator=generator)
    old = tokens.sum(1) + 0.5 * torch.randn(6, generator=generator)
    advantages = leave_one_out(torch.randn(6, generator=generator), 3)
    stub = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (tokens, torch.zeros(6, 5), None),
        epsilon_low=0.2, epsilon_high=0.2, aux_loss_enabled=False,
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(
            reduce=lambda x, reduction: x, gather=lambda x: x,
        ),
        _metrics={"train": defaultdict(list)},
    )  # fmt: skip
    ones = torch.ones(6, 5, dtype=torch.long)
    theirs = RLOOTrainer._compute_loss(
        stub, None,
        {"prompt_ids": ones, "prompt_mask": ones, "completion_ids": ones, "completion_mask": ones,
         "old_logps": old, "advantages": advantages},
    )  # fmt: skip
    assert float(answer_loss(tokens.sum(1), old, advantages)) == pytest.approx(
        float(theirs), abs=1e-6
    )


def test_repeated_words_are_counted():
    assert repetition("one two three four five") == 0.0
    assert repetition("a b c a b c a b c") > 0.4
    assert repetition("") == 0.0
