"""The reward models of a round: learnt once, for all methods that start from one model.

`trains` is what a method works for: safety first, then helpfulness. `watches` learnt from opinions
that the former did not see; where there are too few of these it is the former's helpfulness.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from luthier.feedback.combined_reward import CombinedReward
from luthier.feedback.preference_data import PreferenceData
from luthier.feedback.reward_report import reward_report
from luthier.models.model import Model
from luthier.training.health import Reward
from luthier.training.reward_training import (
    OpenReward,
    RewardModel,
    RewardPair,
    RewardSettings,
    train_reward,
)

FEWEST_SAFETY_PAIRS = 20
FEWEST_WATCH_PAIRS = 16
WATCH_STEPS = 40  # it tells a collapse, no more


@dataclass(frozen=True, slots=True)
class OpenRewards:
    """Reward models that score answers, while their copies of the base are open."""

    helpful: OpenReward
    trains: Reward
    watches: Reward


@dataclass(eq=False)
class RoundRewards:
    """The reward models that begin as `model` and learn from `data`; each is trained when it is
    first asked for, with at most `tokens`."""

    model: Model
    data: PreferenceData
    tokens: int
    seed: int = 0
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    _found: dict[str, RewardModel] = field(default_factory=dict)

    @contextmanager
    def opened(self, *, watched: bool) -> Iterator[OpenRewards]:
        """All of them, to score with; `watched`: a second one is wanted at the gates."""
        data = self.data
        with ExitStack() as stack:
            reward = self._learnt("reward", data.pairs, data.held_out)
            helpful = stack.enter_context(reward.opened())
            safe: OpenReward | None = None
            watches: OpenReward | None = None
            if len(data.safety) >= FEWEST_SAFETY_PAIRS:
                reward = self._learnt("safety_reward", data.safety, data.safety_held_out)
                safe = stack.enter_context(reward.opened())
            if watched and len(data.dev_pairs) >= FEWEST_WATCH_PAIRS:
                watches = stack.enter_context(self._watching().opened())
            yield OpenRewards(helpful, CombinedReward(helpful, safe), watches or helpful)

    def save(self, folder: Path) -> None:
        """Write those that methods work for: helpfulness, and safety below it."""
        for name, place in (("reward", "reward"), ("safety_reward", "reward/safety")):
            if name in self._found:
                self._found[name].save(folder / place)

    def _learnt(
        self, name: str, pairs: tuple[RewardPair, ...], held_out: tuple[RewardPair, ...]
    ) -> RewardModel:
        if name not in self._found:
            settings = RewardSettings(self.tokens, epochs=2)
            found, spent = train_reward(self.model, pairs, settings, seed=self.seed)
            with found.opened() as live:
                report = reward_report(live, held_out, pairs)
            self._found[name] = found
            self.reports[name] = {**asdict(report), "spent_tokens": spent}
        return self._found[name]

    def _watching(self) -> RewardModel:
        if "watch" not in self._found:
            settings = RewardSettings(self.tokens, epochs=8, least_steps=WATCH_STEPS)
            pairs = self.data.dev_pairs
            self._found["watch"], _ = train_reward(self.model, pairs, settings, seed=self.seed + 1)
        return self._found["watch"]
