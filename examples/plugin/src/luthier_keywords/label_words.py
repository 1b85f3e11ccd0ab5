"""A technique: each label is described in the prompt by the training words that tell it apart.

How many words to show is settled on dev, none included, within the budget.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier import (
    Budget,
    Capability,
    Card,
    Example,
    FitRecord,
    Footprint,
    Lineage,
    Model,
    Prompt,
    Task,
    Technique,
    TechniqueError,
    check_needs,
    settings_of,
)
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.halving import choose, successive_halving
from luthier.techniques.search.token_budget import TokenBudget
from luthier.training.starting_prompt import starting_decoding, starting_prompt


@dataclass(frozen=True)
class LabelWords(Technique):
    """`counts`: numbers of words a label that are tried on dev, beside none at all."""

    counts: tuple[int, ...] = (3, 6, 12)

    name: ClassVar[str] = "label-words"
    family: ClassVar[str] = "prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    trained: ClassVar[bool] = False
    # What a comparison plans with: a few-shot technique would say Footprint(demonstrations=8).
    footprint: ClassVar[Footprint] = Footprint()
    card: ClassVar[Card] = Card(
        changes="the prompt: each label is described by the words that tell it apart",
        needs="text, labels, a few training examples of each",
        pays_when="the names of the labels say little, and demonstrations are too long",
        costs="a short search on dev; every request is longer by the descriptions",
        source="log-odds with a prior, Monroe et al. 2008, doi:10.1093/pan/mpn018, section 3.4",
    )

    def __post_init__(self) -> None:
        for count in self.counts:
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise TechniqueError(
                    f"label-words: counts={self.counts!r} must be whole numbers of at least 1"
                )

    def unmet_by_task(self, task: Task) -> str | None:
        """Why a comparison leaves this technique out; None where it can run."""
        return None if task.labels else "the task has no labels to describe"

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with descriptions of the labels, where they help on dev."""
        check_needs(self, model)
        reason = self.unmet_by_task(task)
        if reason is not None:
            raise TechniqueError(f"label-words: {reason}")
        started = model.adapt(
            prompt=starting_prompt(model, task), decoding=starting_decoding(model, task)
        )
        # Asks each candidate about the same dev examples, and keeps the budget.
        evaluator = CandidateEvaluator(
            started,
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=("none",),
            seed=seed,
        )
        prompt = started.adaptation.prompt
        words = telling_words(task.train, most=max(self.counts, default=0))
        candidates = [evaluator.add("no words", prompt)]
        for count in self.counts:
            candidates.append(evaluator.add(f"{count} words", described(prompt, words, count)))
        choice = choose(successive_halving(evaluator, candidates) or candidates[:1])
        record = FitRecord(
            fit_seconds=evaluator.seconds,
            spent_tokens=evaluator.token_budget.spent,
            trainable_parameters=0,
            train_examples=len(task.train),
            dev_score=choice.dev_score,
            settled={"candidate": choice.candidate.name},
            history=tuple(evaluator.history),
            notes=choice.notes,
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return choice.candidate.model.adapt(lineage=lineage)


def described(prompt: Prompt, words: dict[str, list[str]], count: int) -> Prompt:
    """The prompt with `count` words beside what describes each label already."""
    known = dict(prompt.label_descriptions)
    descriptions = []
    for label in prompt.labels:
        parts = [known.get(label, ""), ", ".join(words.get(label, [])[:count])]
        descriptions.append((label, "; ".join(part for part in parts if part)))
    return replace(prompt, label_descriptions=tuple(descriptions))


def telling_words(examples: Sequence[Example], *, most: int) -> dict[str, list[str]]:
    """For each label the `most` words that are likelier under it than under the others.

    Words are ranked by the z-score of their log-odds under an informative Dirichlet prior: the
    counts over all labels.
    """
    counts: dict[str, Counter[str]] = {}
    for example in examples:
        words = set(re.findall(r"[^\W\d_]{3,}", example.text.lower()))
        counts.setdefault(example.target, Counter()).update(words)
    prior = sum(counts.values(), Counter())
    total = prior.total()
    found = {}
    for label, own in counts.items():
        others = prior - own
        scores = {}
        for word, weight in prior.items():
            a, b = own[word] + weight, others[word] + weight
            odds = math.log(a / (own.total() + total - a)) - math.log(
                b / (others.total() + total - b)
            )
            scores[word] = odds / math.sqrt(1 / a + 1 / b)
        ranked = sorted((w for w in own if scores[w] > 0), key=lambda w: (-scores[w], w))
        found[label] = ranked[:most]
    return found
