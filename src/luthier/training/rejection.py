"""Rejection sampling: of K answers the one with the highest reward (Llama 2, arXiv:2307.09288,
section 3.2.3). The best answers are kept, and the model is tuned on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.models.answering import render_for
from luthier.models.backend import GenerateRequest
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.health import Reward

PROMPTS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class BestAnswer:
    """A prompt with its best answer as the target, the reward of that, and the mean of all K."""

    example: Example
    reward: float
    mean_reward: float


def best_answers(
    model: Model, examples: Sequence[Example], reward: Reward, *,
    samples: int, temperature: float, seed: int,
) -> tuple[list[BestAnswer], int]:  # fmt: skip
    """The best of `samples` answers to each prompt, and the tokens that it took. A prompt whose
    answers are all empty or cut is left out."""
    decoding = replace(model.adaptation.decoding, temperature=temperature, votes=1)
    best: list[BestAnswer] = []
    spent = 0
    for start in range(0, len(examples), PROMPTS_AT_ONCE):
        some = examples[start : start + PROMPTS_AT_ONCE]
        requests = [
            GenerateRequest(p, seed, samples, decoding=decoding) for p in render_for(model, some)
        ]
        found = model.backend.generate(requests, model.adaptation)
        asked: list[tuple[int, Example, str]] = []
        for i, (example, first) in enumerate(zip(some, found, strict=True)):
            spent += first.usage.computed_tokens
            texts = {g.text.strip() for g in (first, *first.others) if not g.cut}
            asked += [(i, example, text) for text in sorted(texts) if text]
        if not asked:
            continue
        rewards = reward([e for _, e, _ in asked], [text for _, _, text in asked])
        spent += sum(model.backend.count_tokens(text) for _, _, text in asked)
        by_prompt: dict[int, list[tuple[float, str, Example]]] = {}
        for (i, example, text), r in zip(asked, rewards, strict=True):
            by_prompt.setdefault(i, []).append((r, text, example))
        for given in by_prompt.values():
            highest, text, example = max(given, key=lambda g: g[:2])
            best.append(
                BestAnswer(
                    replace(example, target=text, rejected=None),
                    highest,
                    sum(r for r, _, _ in given) / len(given),
                )
            )
    return best, spent
