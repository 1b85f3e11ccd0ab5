"""Prompts with demonstrations: how many training examples fit, and which sets of them to try.

What is shown, and in which order, moves a small model's accuracy by tens of points
(arXiv:2102.09690, section 3; arXiv:2104.08786), so each is a candidate and none is taken for
granted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.records import Example
from luthier.task.task import Task
from luthier.techniques.search.context_window import (
    context_length,
    demonstration_tokens,
    shrink_to_context,
    tokens_for_demonstrations,
)
from luthier.techniques.search.demonstration_sets import balanced_set, diverse_set, shot_counts
from luthier.training.starting_prompt import starting_model

K = TypeVar("K")
T = TypeVar("T")
Selection = Literal["auto", "random", "knn", "diverse"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)

MANY_LABELS = 20  # above this, prompts without the list of labels are tried from the beginning
FEWEST_SHOTS = 4  # where fewer fit, label descriptions and the list of labels are left out
LONG_SHARE = 0.1  # share of the training examples that may be too long to be shown


@dataclass(frozen=True, slots=True)
class DemonstrationPool:
    """Training examples as demonstrations.

    `tokens` is what each of them takes in a prompt, `available_tokens` what the context leaves for
    all that are shown together.
    """

    demonstrations: tuple[Demonstration, ...]
    tokens: tuple[int, ...]
    available_tokens: int

    @property
    def max_shots(self) -> int:
        """The most shots that fit, whichever of the examples are shown; the longest `LONG_SHARE` of
        them do not count."""
        available = self.available_tokens
        if not self.tokens or available <= 0:
            return 0
        ordered = sorted(self.tokens)
        long = max(1, ordered[min(len(ordered) - 1, int(len(ordered) * (1 - LONG_SHARE)))])
        return min(len(self.tokens), max(available // long, 1 if ordered[0] <= available else 0))

    def short_enough(self, shots: int) -> tuple[Demonstration, ...]:
        """The demonstrations that are short enough for any `shots` of them to fit."""
        limit = self.available_tokens // max(shots, 1)
        return tuple(d for d, t in zip(self.demonstrations, self.tokens, strict=True) if t <= limit)


def demonstration_pool(
    model: Model, prompt: Prompt, train: Sequence[Example], asked: Sequence[Example]
) -> DemonstrationPool:
    """The training examples as `prompt` would show them, before inputs like those of `asked`."""
    shown = tuple(Demonstration(e.text, e.target, e.context) for e in train)
    tokens = demonstration_tokens(model, prompt, shown)
    return DemonstrationPool(shown, tuple(tokens), tokens_for_demonstrations(model, prompt, asked))


def model_and_pool(model: Model, task: Task) -> tuple[Model, DemonstrationPool, tuple[str, ...]]:
    """The model with its starting prompt, the demonstrations that it can show, and notes.

    Label descriptions and the list of labels are left out where hardly any demonstration would fit
    beside them; a note says so.
    """
    start = starting_model(model, task)
    prompt = without_demonstrations(start.adaptation.prompt)
    asked = (*task.train, *task.dev)
    started, notes = shrink_to_context(start.adapt(prompt=prompt), asked)
    current = started.adaptation.prompt
    undescribed = replace(current, label_descriptions=())
    shorter_prompts = (
        ("label descriptions", undescribed),
        ("the list of labels", without_label_list(undescribed)),
    )
    pool = demonstration_pool(started, current, task.train, asked)
    for what, shorter in shorter_prompts:
        if pool.max_shots >= min(FEWEST_SHOTS, len(task.train)) or shorter == current:
            continue
        larger_pool = demonstration_pool(started, shorter, task.train, asked)
        if larger_pool.max_shots > pool.max_shots:
            notes += (f"Left out {what}, to make room for demonstrations.",)
            pool, started = larger_pool, started.adapt(prompt=shorter)
    return started, pool, notes


def model_and_required_pool(
    model: Model, task: Task
) -> tuple[Model, DemonstrationPool, tuple[str, ...]]:
    """The same as `model_and_pool`. TechniqueError where not a single demonstration fits."""
    started, pool, notes = model_and_pool(model, task)
    if pool.max_shots < 1:
        raise TechniqueError(
            f"No demonstration fits: the context of {context_length(started)} tokens leaves "
            f"{pool.available_tokens} for them, the shortest takes {min(pool.tokens, default=0)}",
            next_step="Use a model with a longer context, or shorter inputs.",
        )
    return started, pool, notes


def initial_demonstration_prompts(
    model: Model, pool: DemonstrationPool, task: Task, *, selection: Selection, shots: int | None,
    sets: int, seed: int,
) -> Iterator[tuple[str, str, Prompt]]:  # fmt: skip
    """`demonstration_prompts` of the model's prompt.

    Where there are many labels, prompts without the list of labels take turns with those that have
    it.
    """
    prompt = model.adaptation.prompt
    listed = demonstration_prompts(
        prompt, pool, selection=selection, shots=shots, sets=sets, seed=seed
    )
    if len(task.labels) <= MANY_LABELS or not prompt.format.list_labels:
        yield from listed
        return
    shorter = without_label_list(prompt)
    larger_pool = demonstration_pool(model, shorter, task.train, (*task.train, *task.dev))
    unlisted = demonstration_prompts(
        shorter, larger_pool, selection=selection, shots=shots, sets=1, seed=seed
    )
    sources = {", labels unlisted": unlisted, "": listed}
    for suffix, (kind, name, found) in round_robin(sources):
        yield kind, name + suffix, found


def demonstration_prompts(
    prompt: Prompt,
    pool: DemonstrationPool,
    *,
    selection: Selection,
    shots: int | None,
    sets: int,
    seed: int,
) -> Iterator[tuple[str, str, Prompt]]:
    """(selection, name, prompt) for each set of demonstrations worth trying.

    With "auto" the ways of selecting take turns. `shots` None tries several numbers of shots;
    `sets` random sets are drawn for each.
    """
    by_label = bool(prompt.labels)
    nearest_counts = shot_counts(pool.max_shots, labels=len(prompt.labels), nearest=True)
    fixed_counts = shot_counts(pool.max_shots, labels=len(prompt.labels), nearest=False)
    if shots is not None:
        nearest_counts = fixed_counts = (shots,)
    candidates_for_nearest = pool.short_enough(max(nearest_counts, default=1))

    def nearest_prompts() -> Iterator[tuple[str, Prompt]]:
        for count in _middle_out(nearest_counts):
            found = replace(
                prompt, demonstrations=candidates_for_nearest, selection="knn", shots=count
            )
            yield f"{count} nearest", found

    def random_prompts() -> Iterator[tuple[str, Prompt]]:
        for number in range(sets):
            for count in _middle_out(fixed_counts):
                rng = random.Random(f"{seed}/{number}/{count}")
                shown = balanced_set(pool.short_enough(count), count, by_label=by_label, rng=rng)
                yield f"{count} random, set {number + 1}", _fixed(prompt, shown)

    def diverse_prompts() -> Iterator[tuple[str, Prompt]]:
        for count in _middle_out(fixed_counts):
            shown = diverse_set(pool.short_enough(count), count, by_label=by_label, seed=seed)
            yield f"{count} diverse", _fixed(prompt, shown)

    sources = {
        "knn": nearest_prompts(),
        "random": random_prompts(),
        "diverse": diverse_prompts(),
    }
    wanted = sources if selection == "auto" else {str(selection): sources[selection]}
    for kind, (name, found) in round_robin(wanted):
        yield kind, name, found


def without_demonstrations(prompt: Prompt) -> Prompt:
    """The same prompt without demonstrations."""
    return replace(prompt, demonstrations=(), selection="all", shots=0)


def without_label_list(prompt: Prompt) -> Prompt:
    """The same prompt without the list of labels, which demonstrations show anyway."""
    return replace(prompt, format=replace(prompt.format, list_labels=False))


def round_robin(sources: Mapping[K, Iterator[T]]) -> Iterator[tuple[K, T]]:
    """(key, item): one item of each source in turn, until all are empty."""
    remaining = dict(sources)
    while remaining:
        for key in list(remaining):
            try:
                item = next(remaining[key])
            except StopIteration:
                del remaining[key]
            else:
                yield key, item


def _fixed(prompt: Prompt, shown: tuple[Demonstration, ...]) -> Prompt:
    return replace(prompt, demonstrations=shown, selection="all", shots=0)


def _middle_out(counts: tuple[int, ...]) -> list[int]:
    """The counts, those in the middle first."""
    middle = (len(counts) - 1) / 2
    return sorted(counts, key=lambda c: abs(counts.index(c) - middle))
