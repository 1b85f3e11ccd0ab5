"""Health gates: is the model that trains still one that answers?

Preference training collapses often, and its loss does not show it: answers become one phrase, grow
without end, or please the reward model and nobody else. A gate answers held-out prompts with the
model as it stands and compares with the start. What fails is not kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import mean

from luthier.records import Example
from luthier.training.dev_gate import DevScore
from luthier.training.policy import Policy

# Rewards of answers to examples; the higher the better.
Reward = Callable[[Sequence[Example], Sequence[str]], list[float]]
NOISE = 2.0  # standard errors that a drop of the dev score must exceed its bound by


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """How far a model may go from where it started.

    **Fields**

    - `kl`: nats an answer, log π(y) − log π_ref(y) on average over sampled answers.
    - `reward_drop`: by how much the mean of the held-out reward may fall, in standard deviations of
      the rewards at the start.
    - `shortest`, `longest`: mean tokens of an answer, as a multiple of the start's.
    - `repetition`: the share of words in runs of three that stood before in the answer, beyond the
      start's.
    - `entropy`: the least mean entropy of a token, as a share of the start's.
    - `parse_drop`: by how much the share of answers that end by themselves and are not empty may
      fall.
    - `score_drop`: by how much the score of the task's dev split may fall, beside two standard
      errors of the difference, example by example.
    - `prompts`: how many prompts are answered at a gate.
    """

    kl: float = 40.0
    reward_drop: float = 1.0
    shortest: float = 0.25
    longest: float = 3.0
    repetition: float = 0.3
    entropy: float = 0.05
    parse_drop: float = 0.3
    score_drop: float = 0.1
    prompts: int = 16


@dataclass(frozen=True, slots=True)
class HealthReading:
    """What one gate measured. None: not measured."""

    kl: float
    length: float
    repetition: float
    entropy: float
    parse_rate: float
    reward: float | None = None
    reward_spread: float | None = None
    dev_scores: tuple[float, ...] | None = None  # of each example, in one order

    @property
    def dev_score(self) -> float | None:
        """The mean over the dev examples."""
        return mean(self.dev_scores) if self.dev_scores else None


@dataclass(slots=True)
class HealthMonitor:
    """The gates of one fit. `problem` measures, remembers, and says what is wrong."""

    policy: Policy
    examples: Sequence[Example]
    limits: HealthLimits
    seed: int = 0
    reward: Reward | None = None
    dev_score: DevScore | None = None
    readings: list[HealthReading] = field(default_factory=list)
    spent: int = 0  # tokens that were computed

    def __post_init__(self) -> None:
        step = max(1, len(self.examples) // self.limits.prompts)
        self.examples = list(self.examples)[::step][: self.limits.prompts]
        if self.examples:
            self.readings.append(self.measure())

    def problem(self) -> str | None:
        """In words, which gate the model does not pass; None where it passes all."""
        if not self.examples:
            return None
        now = self.measure()
        self.readings.append(now)
        return health_problem(now, self.readings[0], self.limits)

    def measure(self) -> HealthReading:
        """Answer the prompts with the model as it stands."""
        found = self.policy.sample(self.examples, samples=1, temperature=1.0, seed=self.seed)
        answers = [text for ((text, _),) in found]
        finished = [ended and bool(text) for ((text, ended),) in found]
        rows = self.policy.rows(self.examples, answers)
        self.spent += 3 * sum(row.tokens for row in rows)
        gains, tokens, entropies = self.policy.gains(rows)
        rewards = self.reward(self.examples, answers) if self.reward is not None else None
        dev = self.dev_score(self.examples, answers) if self.dev_score is not None else None
        self.spent += dev.spent if dev is not None else 0
        return HealthReading(
            kl=float(gains.mean()),
            length=float(tokens.float().mean()),
            repetition=mean(repetition(answer) for answer in answers),
            entropy=float(entropies.mean()),
            parse_rate=mean(map(float, finished)),
            reward=None if rewards is None else mean(rewards),
            reward_spread=None if rewards is None else spread(rewards),
            dev_scores=None if dev is None else dev.scores,
        )


def health_problem(now: HealthReading, start: HealthReading, limits: HealthLimits) -> str | None:
    """The gates that are not passed, in words with both numbers; None where all are."""
    if not all(math.isfinite(v) for v in (now.kl, now.entropy)):
        return "the model's probabilities are no numbers any more"
    checks = [
        (now.kl > limits.kl, "KL from the start", now.kl, f"{limits.kl:g} nats an answer at most"),
        (
            now.length > limits.longest * start.length, "tokens an answer", now.length,
            f"{start.length:.1f} at the start",
        ),
        (
            now.length < limits.shortest * start.length, "tokens an answer", now.length,
            f"{start.length:.1f} at the start",
        ),
        (
            now.repetition > start.repetition + limits.repetition, "share of repeated words",
            now.repetition, f"{start.repetition:.2f} at the start",
        ),
        (
            now.entropy < limits.entropy * start.entropy, "entropy of a token", now.entropy,
            f"{start.entropy:.2f} at the start",
        ),
        (
            now.parse_rate < start.parse_rate - limits.parse_drop, "share of whole answers",
            now.parse_rate, f"{start.parse_rate:.2f} at the start",
        ),
    ]  # fmt: skip
    if now.reward is not None and start.reward is not None:
        least = start.reward - limits.reward_drop * max(start.reward_spread or 0.0, 1e-6)
        checks.append((now.reward < least, "held-out reward", now.reward, f"{least:.2f} at least"))
    if now.dev_scores and start.dev_scores:
        drops = [a - b for a, b in zip(start.dev_scores, now.dev_scores, strict=True)]
        most = limits.score_drop + NOISE * spread(drops) / math.sqrt(len(drops))
        before, after = mean(start.dev_scores), mean(now.dev_scores)
        checks.append((before - after > most, "dev score", after, f"{before:.2f} at the start"))
    failures = [f"{name} {value:.2f} ({bound})" for failed, name, value, bound in checks if failed]
    return ", ".join(failures) or None


def repetition(text: str) -> float:
    """The share of runs of three words that stood before in the text."""
    words = text.split()
    runs = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def spread(values: Sequence[float]) -> float:
    """The standard deviation of a sample; 0 for one value."""
    if len(values) < 2:
        return 0.0
    centre = mean(values)
    return math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - 1))
