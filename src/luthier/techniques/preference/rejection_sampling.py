"""Rejection sampling with tuning (Llama 2, arXiv:2307.09288, section 3.2.3): a reward model learns
the preferences, the model gives K answers to each prompt, and learns the best ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Example
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, check_needs
from luthier.techniques.preference.answer_tuning import PreferenceTuning

REWARD_SHARE = 0.3  # of the tokens, for the reward model
SAMPLE_SHARE = 0.4  # for the answers


@dataclass(frozen=True)
class RejectionSampling(PreferenceTuning):
    """Answers many times, keeps what a reward model likes best, and learns that.

    **Settings**

    - `samples`: K, answers to each prompt.
    - `temperature`: of the sampling. Above 1 answers differ more, and those of a small model fall
      apart.
    - `rank`: of the LoRA, where the model carries none yet; else its own adapter goes on.
    - `learning_rates`: those that are tried on the best answers.
    - `batch_size`: rows a step.
    - `prompt`: "task" (default) trains under the task's prompt, "bare" without its instruction.
    - `gates`: watch the answers while training, and go back to the last good state on collapse.
    """

    samples: int = 8
    temperature: float = 1.0
    rank: int = 8
    learning_rates: tuple[float, ...] = (3e-4, 1e-3)
    batch_size: int = 4
    prompt: str = "task"
    gates: bool = True

    name: ClassVar[str] = "rejection"
    footprint: ClassVar[Footprint] = Footprint(gradients=True, copies_weights=True)
    card: ClassVar[Card] = Card(
        changes="an adapter, so that the best of many answers becomes the usual one",
        needs="gradients, and some hundred pairs of a better and a worse answer",
        pays_when="good answers are among many, and stability matters more than the last point",
        costs="K answers a prompt, and a reward model on a second copy of the base",
        source="Touvron et al. 2023, arXiv:2307.09288, section 3.2.3",
    )

    def __post_init__(self) -> None:
        if self.samples < 2 or not self.temperature > 0:
            raise TechniqueError(
                f"samples={self.samples} at temperature={self.temperature:g} leaves nothing to "
                "choose from",
                next_step="Take 2 samples or more, at a temperature above 0.",
            )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train a reward model, then the adapter on the best answers."""
        check_needs(self, model)
        from luthier.training.fit import budget_tokens
        from luthier.training.rejection import best_answers
        from luthier.training.reward_training import RewardPair, RewardSettings, train_reward
        from luthier.training.starting_prompt import starting_model

        started = time.perf_counter()
        start = starting_model(model, task, style=self.prompt)
        tokens = budget_tokens(budget, model.backend)
        pairs = [RewardPair(e) for e in task.train if e.target and e.rejected]
        reward, spent = train_reward(
            start, pairs, RewardSettings(int(tokens * REWARD_SHARE), epochs=2), seed=seed
        )
        examples = self._affordable(start, task, int(tokens * SAMPLE_SHARE))
        with reward.opened() as live:
            best, sampled = best_answers(
                start, examples, live, samples=self.samples, temperature=self.temperature, seed=seed
            )
        if not best:
            raise TechniqueError(
                "Not one sampled answer ended by itself",
                next_step="Tune the model on good answers first: 'lora -> rejection'.",
            )
        kept = [b.example for b in best]
        tuned = self.tune(start, task, kept, tokens=tokens - spent - sampled, seed=seed)
        assert tuned.lineage is not None
        fit = tuned.lineage.fit
        record = replace(
            fit,
            spent_tokens=(fit.spent_tokens or 0) + spent + sampled,
            fit_seconds=time.perf_counter() - started,
            settled={"best_answers": len(best)},
        )
        lineage = replace(tuned.lineage, fit=record, examples=task.example_hashes)
        return tuned.adapt(lineage=lineage)

    def tune(
        self, model: Model, task: Task, best: Sequence[Example], *, tokens: int, seed: int,
        guarded: Task | None = None,
    ) -> Model:  # fmt: skip
        """Learn the best answers, of this round and of those before; the dev score of a `guarded`
        task, which the model had before, must not fall."""
        from luthier.training.adapter_fit import fit_adapter
        from luthier.training.objectives import LanguageModelLoss

        plan = self.plan(LanguageModelLoss(), guarded=guarded)
        learnt = replace(task, train=tuple(best))
        return fit_adapter(model, learnt, plan, budget=Budget(tokens=tokens), seed=seed)

    def _affordable(self, model: Model, task: Task, tokens: int) -> list[Example]:
        """As many training prompts as the tokens reach for, each prompt once."""
        prompts = list({e.text: e for e in task.train}.values())
        count = model.backend.count_tokens
        mean = sum(count(e.text) + self.samples * count(e.target) for e in prompts) / len(prompts)
        return prompts[: max(8, int(tokens / max(1.0, mean)))]
