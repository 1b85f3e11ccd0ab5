"""Sets of demonstrations: how many fit, random and diverse ones, a pool for the nearest, orders.

What is shown, and in which order, moves a small model's accuracy by tens of points
(arXiv:2102.09690, section 3; arXiv:2104.08786), so each is a candidate and none is taken for
granted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

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
from luthier.training.starting_prompt import starting_model

K = TypeVar("K")
T = TypeVar("T")
Selection = Literal["auto", "random", "knn", "diverse"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)

KNN_COUNTS = (2, 4, 8, 16, 32)
FREE_TEXT_COUNTS = (1, 2, 4, 8, 16)
MANY_LABELS = 20  # above this, prompts without the list of labels are tried from the beginning
FEWEST_SHOTS = 4  # where fewer fit, label descriptions and the list of labels give way
LEFT_OUT = 0.1  # share of the training examples that may be too long to be shown
FEATURES = 1000  # most frequent character n-grams that k-means looks at
CLUSTERED = 2000  # training examples looked at when a diverse set is chosen


@dataclass(frozen=True, slots=True)
class Supply:
    """Training examples with the tokens each takes as a demonstration, and the room there is."""

    demonstrations: tuple[Demonstration, ...]
    tokens: tuple[int, ...]
    room: int

    @property
    def most(self) -> int:
        """The most shots among which all but `LEFT_OUT` of the examples could stand."""
        if not self.tokens or self.room <= 0:
            return 0
        ordered = sorted(self.tokens)
        long = max(1, ordered[min(len(ordered) - 1, int(len(ordered) * (1 - LEFT_OUT)))])
        return min(len(self.tokens), max(self.room // long, 1 if ordered[0] <= self.room else 0))

    def up_to(self, shots: int) -> tuple[Demonstration, ...]:
        """Those short enough that any `shots` of them fit."""
        limit = self.room // max(shots, 1)
        return tuple(d for d, t in zip(self.demonstrations, self.tokens, strict=True) if t <= limit)


def supply(
    model: Model, prompt: Prompt, train: Sequence[Example], asked: Sequence[Example]
) -> Supply:
    """What the training examples offer, shown as `prompt` shows them, to inputs like `asked`."""
    pool = tuple(Demonstration(e.text, e.target, e.context) for e in train)
    tokens = demonstration_tokens(model, prompt, pool)
    return Supply(pool, tuple(tokens), tokens_for_demonstrations(model, prompt, asked))


def prepared(model: Model, task: Task) -> tuple[Model, Supply, tuple[str, ...]]:
    """As `with_room`. TechniqueError where not a single demonstration fits."""
    started, offer, notes = with_room(model, task)
    if offer.most < 1:
        raise TechniqueError(
            f"No demonstration fits: the context of {context_length(started)} tokens leaves "
            f"{offer.room} for them, the shortest takes {min(offer.tokens, default=0)}",
            next_step="Use a model with a longer context, or shorter inputs.",
        )
    return started, offer, notes


def with_room(model: Model, task: Task) -> tuple[Model, Supply, tuple[str, ...]]:
    """The model with its starting prompt, what demonstrations it has room for, and notes.

    Label descriptions and the list of labels give way where hardly any demonstration would fit
    beside them.
    """
    start = starting_model(model, task)
    asked = (*task.train, *task.dev)
    bare = replace(start.adaptation.prompt, demonstrations=(), selection="all", shots=0)
    started, notes = shrink_to_context(start.adapt(prompt=bare), asked)
    current = started.adaptation.prompt
    undescribed = replace(current, label_descriptions=())
    lighter = (
        ("label descriptions", undescribed),
        ("the list of labels", unlisted(undescribed)),
    )
    offer = supply(started, current, task.train, asked)
    for what, light in lighter:
        if offer.most >= min(FEWEST_SHOTS, len(task.train)) or light == current:
            continue
        wider = supply(started, light, task.train, asked)
        if wider.most > offer.most:
            notes += (f"Left out {what}, to make room for demonstrations.",)
            offer, started = wider, started.adapt(prompt=light)
    return started, offer, notes


def first_sets(
    model: Model, offer: Supply, task: Task, *, selection: Selection, shots: int | None, sets: int,
    seed: int,
) -> Iterator[tuple[str, str, Prompt]]:  # fmt: skip
    """As `demonstration_sets` for the prompt of `model`; where there are many labels, each kind of
    set in turn without the list of them and with it."""
    prompt = model.adaptation.prompt
    listed = demonstration_sets(
        prompt, offer, selection=selection, shots=shots, sets=sets, seed=seed
    )
    if len(task.labels) <= MANY_LABELS or not prompt.format.list_labels:
        yield from listed
        return
    light = unlisted(prompt)
    wider = supply(model, light, task.train, (*task.train, *task.dev))
    bare = demonstration_sets(light, wider, selection=selection, shots=shots, sets=1, seed=seed)
    for kind, (way, name, candidate) in in_turn_of({", labels unlisted": bare, "": listed}):
        yield way, name + kind, candidate


def unlisted(prompt: Prompt) -> Prompt:
    """The same prompt without the list of labels, which demonstrations show anyway."""
    return replace(prompt, format=replace(prompt.format, list_labels=False))


def demonstration_sets(
    prompt: Prompt,
    offer: Supply,
    *,
    selection: Selection,
    shots: int | None,
    sets: int,
    seed: int,
) -> Iterator[tuple[str, str, Prompt]]:
    """(selection, name, prompt) for each set worth trying, in turn from each way of selecting."""
    by_label = bool(prompt.labels)
    nearest = shot_counts(offer.most, labels=len(prompt.labels), nearest=True)
    fixed = shot_counts(offer.most, labels=len(prompt.labels), nearest=False)
    if shots is not None:
        nearest = fixed = (shots,)
    pool = offer.up_to(max(nearest, default=1))

    def near() -> Iterator[tuple[str, Prompt]]:
        for count in _middle_out(nearest):
            shown = replace(prompt, demonstrations=pool, selection="knn", shots=count)
            yield f"{count} nearest", shown

    def drawn() -> Iterator[tuple[str, Prompt]]:
        for number in range(sets):
            for count in _middle_out(fixed):
                rng = random.Random(f"{seed}/{number}/{count}")
                shown = balanced(offer.up_to(count), count, by_label=by_label, rng=rng)
                yield f"{count} random, set {number + 1}", _fixed(prompt, shown)

    def spread() -> Iterator[tuple[str, Prompt]]:
        for count in _middle_out(fixed):
            shown = diverse(offer.up_to(count), count, by_label=by_label, seed=seed)
            yield f"{count} diverse", _fixed(prompt, shown)

    ways = {"knn": near(), "random": drawn(), "diverse": spread()}
    wanted = ways if selection == "auto" else {str(selection): ways[selection]}
    for way, (name, candidate) in in_turn_of(wanted):
        yield way, name, candidate


def in_turn_of(sources: Mapping[K, Iterator[T]]) -> Iterator[tuple[K, T]]:
    """(key, item): one item of each source in turn, until all are empty."""
    alive = dict(sources)
    while alive:
        for key in list(alive):
            try:
                item = next(alive[key])
            except StopIteration:
                del alive[key]
            else:
                yield key, item


def _fixed(prompt: Prompt, shown: tuple[Demonstration, ...]) -> Prompt:
    return replace(prompt, demonstrations=shown, selection="all", shots=0)


def _middle_out(counts: tuple[int, ...]) -> list[int]:
    middle = (len(counts) - 1) / 2
    return sorted(counts, key=lambda c: abs(counts.index(c) - middle))


def shot_counts(most: int, *, labels: int, nearest: bool) -> tuple[int, ...]:
    """Numbers of shots worth trying, at most `most`.

    Nearest ones: powers of two. A fixed set for a classification: one, two and four of each label,
    and where even one of each is too many, as many as fit.
    """
    if most <= 0:
        return ()
    if nearest:
        counts = [c for c in KNN_COUNTS if c <= most]
    elif labels:
        counts = [labels * k for k in (1, 2, 4) if labels * k <= most]
    else:
        counts = [c for c in FREE_TEXT_COUNTS if c <= most]
    return tuple(counts) or (most,)


def balanced(
    pool: Sequence[Demonstration], shots: int, *, by_label: bool, rng: random.Random
) -> tuple[Demonstration, ...]:
    """A random set with the labels as evenly represented as can be, in random order."""
    chosen = list(islice(_turns(_groups(pool, by_label), rng), shots))
    rng.shuffle(chosen)
    return tuple(chosen)


def diverse(
    pool: Sequence[Demonstration], shots: int, *, by_label: bool, seed: int
) -> tuple[Demonstration, ...]:
    """A set that covers the inputs: k-means over TF-IDF vectors, of each cluster the most central.

    With at least one shot a label, each label is clustered by itself.
    """
    rng = random.Random(seed)
    looked_at = list(pool)
    if len(looked_at) > CLUSTERED:
        looked_at = list(balanced(looked_at, CLUSTERED, by_label=by_label, rng=rng))
    places: dict[str, list[int]] = {}
    for place, demonstration in enumerate(looked_at):
        places.setdefault(demonstration.target if by_label else "", []).append(place)
    groups = [places[label] for label in sorted(places)]
    if len(groups) > shots:
        groups = [list(range(len(looked_at)))]
    vectors = _vectors([d.input for d in looked_at])
    each, more = divmod(shots, len(groups))
    chosen: list[int] = []
    for number, group in enumerate(groups):
        count = each + (1 if number < more else 0)
        chosen += [group[i] for i in _central(vectors[group], count, seed=seed)]
    rng.shuffle(chosen)
    return tuple(looked_at[i] for i in chosen[:shots])


def orders(
    shown: tuple[Demonstration, ...], count: int, *, seed: int
) -> Iterator[tuple[Demonstration, ...]]:
    """Up to `count` different random orders, none of them the present one."""
    rng = random.Random(seed)
    seen = {shown}
    for _ in range(20 * count):
        if len(seen) > count:
            return
        order = tuple(rng.sample(shown, len(shown)))
        if order not in seen:
            seen.add(order)
            yield order


def _groups(pool: Sequence[Demonstration], by_label: bool) -> list[list[Demonstration]]:
    if not by_label:
        return [list(pool)]
    groups: dict[str, list[Demonstration]] = {}
    for demonstration in pool:
        groups.setdefault(demonstration.target, []).append(demonstration)
    return [groups[label] for label in sorted(groups)]


def _turns(groups: list[list[Demonstration]], rng: random.Random) -> Iterator[Demonstration]:
    """One of each group in turn, groups and members in random order."""
    groups = [rng.sample(g, len(g)) for g in groups]
    rng.shuffle(groups)
    for turn in range(max((len(g) for g in groups), default=0)):
        for group in groups:
            if turn < len(group):
                yield group[turn]


def _vectors(texts: list[str]) -> Any:
    """(N, F) TF-IDF of character n-grams, sparse; N texts."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(text.strip() for text in texts):
        return csr_matrix((len(texts), 1))
    vectoriser = TfidfVectorizer(
        sublinear_tf=True, analyzer="char_wb", ngram_range=(1, 3), max_features=FEATURES
    )
    return vectoriser.fit_transform(texts)


def _central(vectors: Any, count: int, *, seed: int) -> list[int]:
    """Of `count` clusters of the rows, the places of the most central rows, all different."""
    if count >= vectors.shape[0]:
        return list(range(vectors.shape[0]))
    if count <= 0:
        return []
    import warnings

    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Fewer different texts than clusters: some clusters stay empty, which does no harm here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        distances = KMeans(n_clusters=count, n_init=1, random_state=seed).fit_transform(vectors)
    chosen: list[int] = []
    for cluster in range(count):
        order = np.argsort(distances[:, cluster], kind="stable")
        chosen.append(next(int(i) for i in order if int(i) not in chosen))
    return chosen
