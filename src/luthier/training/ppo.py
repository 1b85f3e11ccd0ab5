"""PPO with KL control, small: sampled answers, a reward, and clipped steps towards the better ones.

One iteration answers some prompts, scores the answers, and takes a few epochs of steps on them. The
reward of an answer is whitened over the batch and paid at its last token; every token pays
β (log π − log π_ref), so that the model stays near where it started (Stiennon et al. 2020,
arXiv:2009.01325; Llama 2, arXiv:2307.09288, section 3.2.3). Two baselines:

- "value": a linear head on the states, advantages by GAE (γ = 1), one clipped ratio a token
  (Schulman et al. 2017, arXiv:1707.06347, equation 7);
- "leave-one-out": the mean reward of the other answers to the same prompt, one clipped ratio an
  answer: RLOO (Ahmadian et al. 2024, arXiv:2402.14740).

A gate looks at the model after each iteration; what it finds ill is taken back and ends the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from luthier.context import report_progress
from luthier.errors import BudgetError
from luthier.records import Example, FitStep
from luthier.training.health import HealthMonitor, Reward
from luthier.training.policy import Policy
from luthier.training.rows import TrainRow
from luthier.training.trainable import FROZEN_BASE, State

Baseline = Literal["value", "leave-one-out"]
CLIP = 0.2
GAE_LAMBDA = 0.95
VALUE_SHARE = 0.5
SPARE = 1.3  # an iteration may be so much longer than those before


@dataclass(frozen=True, slots=True)
class PPOSettings:
    """How to spend a fit.

    **Fields**

    - `tokens`: the budget, in forward-token equivalents.
    - `learning_rate`: of the policy; the value head learns ten times as fast.
    - `prompts`, `samples`: prompts an iteration, and answers to each.
    - `epochs`, `minibatch`: passes over the answers of an iteration, and answers a step.
    - `beta`: what a nat away from the reference costs.
    """

    tokens: int
    learning_rate: float = 3e-4
    prompts: int = 8
    samples: int = 4
    epochs: int = 2
    minibatch: int = 8
    beta: float = 0.05
    temperature: float = 1.0
    baseline: Baseline = "value"


@dataclass(slots=True)
class PPOResult:
    """What happened. `collapse` says why it was ended and taken back; None: it was not."""

    iterations: int = 0
    spent: int = 0
    history: list[FitStep] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    collapse: str | None = None


@dataclass(slots=True)
class _Rollouts:
    """Answers of one iteration, with what was seen of them when they were given; (B, K) each."""

    rows: list[TrainRow]
    old: torch.Tensor
    penalty: torch.Tensor
    values: torch.Tensor
    mask: torch.Tensor
    rewards: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


def run_ppo(
    policy: Policy, examples: Sequence[Example], reward: Reward, *,
    settings: PPOSettings, monitor: HealthMonitor, seed: int,
) -> PPOResult:  # fmt: skip
    """Train the policy in place, and leave it in its last good state."""
    done = PPOResult()
    width = policy.session.embeddings.weight.shape[1]
    value_head = torch.nn.Parameter(torch.zeros(width + 1, device=policy.session.device))
    weights = policy.parameters.parameters()
    optimiser = torch.optim.AdamW(
        [
            {"params": weights, "lr": settings.learning_rate},
            {"params": [value_head], "lr": 10 * settings.learning_rate},
        ],
        weight_decay=0.0,
    )
    generator = torch.Generator().manual_seed(seed)
    good: State = policy.parameters.state()
    while True:
        left = settings.tokens - done.spent - monitor.spent
        expected = (done.spent + monitor.spent) / max(1, done.iterations)  # of one iteration
        if left <= 0 or (done.iterations and SPARE * expected > left):
            break
        chosen = torch.randint(len(examples), (settings.prompts,), generator=generator).tolist()
        batch = [examples[i] for i in chosen]
        rollouts = _roll_out(
            policy, batch, reward, value_head, settings, seed=seed * 100_003 + done.iterations
        )
        tokens = sum(row.tokens for row in rollouts.rows)
        cost = tokens * (4 + settings.epochs * FROZEN_BASE)  # sample, old, reference, reward
        if SPARE * cost > left:  # the gate after it takes a share too
            if not done.iterations:
                raise BudgetError(
                    f"{settings.tokens} tokens are less than one iteration of PPO, which takes "
                    f"{cost}",
                    next_step="Give a larger budget, or fewer prompts and samples.",
                )
            break
        for _ in range(settings.epochs):
            order = torch.randperm(len(rollouts.rows), generator=generator).tolist()
            for start in range(0, len(order), settings.minibatch):
                some = order[start : start + settings.minibatch]
                loss = _loss(policy, rollouts, some, value_head, settings)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_([*weights, value_head], 1.0)
                optimiser.step()
        done.spent += cost
        done.iterations += 1
        done.rewards.append(float(rollouts.rewards.mean()))
        done.kl.append(float((rollouts.penalty).sum(-1).mean()))
        done.history.append(
            FitStep(
                stage="train", trial=0, learning_rate=settings.learning_rate,
                step=done.iterations, spent_tokens=done.spent, dev_score=done.rewards[-1],
            )
        )  # fmt: skip
        report_progress(done.spent, settings.tokens, f"reward {done.rewards[-1]:.2f}")
        done.collapse = monitor.problem()
        if done.collapse is not None:
            policy.parameters.load(good)
            break
        good = policy.parameters.state()
    return done


def leave_one_out(rewards: torch.Tensor, samples: int) -> torch.Tensor:
    """(B,) rewards less the mean of the other answers to the same prompt; those stand together."""
    grouped = rewards.view(-1, samples)
    others = (grouped.sum(1, keepdim=True) - grouped) / max(1, samples - 1)
    return (grouped - others).reshape(-1)


def answer_loss(
    logprobs: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, clip: float = CLIP
) -> torch.Tensor:
    """RLOO's loss: one ratio an answer, −mean min(ρ A, clip(ρ) A); all (B,)."""
    ratio = torch.exp(logprobs - old)
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -torch.min(ratio * advantages, clipped * advantages).mean()


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns (B, K) of rewards paid at tokens, γ = 1; padding stands on the left.

    δ_t = r_t + V_{t+1} − V_t,  A_t = δ_t + λ A_{t+1}.
    """
    advantages = torch.zeros_like(rewards)
    later = torch.zeros(len(rewards), device=rewards.device)
    following = torch.zeros(len(rewards), device=rewards.device)
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + following - values[:, t]
        later = delta + GAE_LAMBDA * later
        advantages[:, t] = later
        following = values[:, t]
    advantages = advantages * mask
    return advantages, (advantages + values) * mask


def _roll_out(
    policy: Policy, batch: Sequence[Example], reward: Reward, value_head: torch.Tensor,
    settings: PPOSettings, *, seed: int,
) -> _Rollouts:  # fmt: skip
    found = policy.sample(
        batch, samples=settings.samples, temperature=settings.temperature, seed=seed
    )
    examples = [e for e in batch for _ in range(settings.samples)]
    answers = [text for some in found for text, _ in some]
    rows = policy.rows(examples, answers)
    raw = torch.tensor(reward(examples, answers), device=policy.session.device)
    with torch.no_grad():
        own = policy.view(rows)
        with policy.as_reference():
            reference = policy.view(rows)
    penalty = (own.logprobs - reference.logprobs) * own.mask
    whitened = (raw - raw.mean()) / (raw.std() + 1e-6)
    values = _values(own.states, value_head.detach()) * own.mask
    paid = -settings.beta * penalty
    if settings.baseline == "value":
        paid = paid.clone()
        paid[:, -1] += whitened  # answers end at the right edge
        advantages, returns = gae(paid, values, own.mask)
        kept = advantages[own.mask]
        advantages = (advantages - kept.mean()) / (kept.std() + 1e-6) * own.mask
    else:
        total = whitened + paid.sum(-1)
        advantages = leave_one_out(total, settings.samples)
        returns = values
    return _Rollouts(rows, own.logprobs, penalty, values, own.mask, raw, advantages, returns)


def _loss(
    policy: Policy, rollouts: _Rollouts, some: Sequence[int], value_head: torch.Tensor,
    settings: PPOSettings,
) -> torch.Tensor:  # fmt: skip
    view = policy.view([rollouts.rows[i] for i in some])
    place = torch.tensor(some, device=view.logprobs.device)
    width = view.logprobs.shape[1]  # answers end at the right edge, whatever the batch's width
    old = rollouts.old[place][:, -width:]
    if settings.baseline == "leave-one-out":
        return answer_loss(view.logprobs.sum(-1), old.sum(-1), rollouts.advantages[place])
    mask = view.mask
    advantages = rollouts.advantages[place][:, -width:]
    ratio = torch.exp(view.logprobs - old)
    clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
    gain = torch.min(ratio * advantages, clipped * advantages)
    error = (_values(view.states, value_head) - rollouts.returns[place][:, -width:]) ** 2
    return -gain[mask].mean() + VALUE_SHARE * error[mask].mean()


def _values(states: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """(B, K): what is expected from each token on. The states are read and not trained."""
    return states.detach() @ head[:-1] + head[-1]
