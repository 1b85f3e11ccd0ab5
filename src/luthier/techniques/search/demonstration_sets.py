"""Sets of demonstrations: how many, which ones, and in which order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from luthier.models.prompt import Demonstration

KNN_COUNTS = (2, 4, 8, 16, 32)
FREE_TEXT_COUNTS = (1, 2, 4, 8, 16)
FEATURES = 1000  # most frequent character n-grams that k-means works on
MOST_CLUSTERED = 2000  # training examples that a diverse set is chosen from, at most


def shot_counts(most: int, *, labels: int, nearest: bool) -> tuple[int, ...]:
    """Numbers of shots worth trying, at most `most`.

    The nearest demonstrations come in powers of two, and so do fixed sets for free text. A fixed
    set for a classification has one, two or four of each of `labels` labels, and where even one of
    each is too many, as many as fit.
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


def balanced_set(
    pool: Sequence[Demonstration], shots: int, *, by_label: bool, rng: random.Random
) -> tuple[Demonstration, ...]:
    """A random set with the labels as evenly represented as can be, in random order."""
    chosen = list(islice(_one_of_each(_groups(pool, by_label), rng), shots))
    rng.shuffle(chosen)
    return tuple(chosen)


def diverse_set(
    pool: Sequence[Demonstration], shots: int, *, by_label: bool, seed: int
) -> tuple[Demonstration, ...]:
    """A set that covers the inputs: k-means over TF-IDF vectors, and the most central example of
    each cluster.

    With at least one shot a label, each label is clustered by itself.
    """
    rng = random.Random(seed)
    examples = list(pool)
    if len(examples) > MOST_CLUSTERED:
        examples = list(balanced_set(examples, MOST_CLUSTERED, by_label=by_label, rng=rng))
    places: dict[str, list[int]] = {}
    for place, demonstration in enumerate(examples):
        places.setdefault(demonstration.target if by_label else "", []).append(place)
    groups = [places[label] for label in sorted(places)]
    if len(groups) > shots:
        groups = [list(range(len(examples)))]
    vectors = _vectors([d.input for d in examples])
    each, more = divmod(shots, len(groups))
    chosen: list[int] = []
    for number, group in enumerate(groups):
        count = each + (1 if number < more else 0)
        chosen += [group[i] for i in _central(vectors[group], count, seed=seed)]
    rng.shuffle(chosen)
    return tuple(examples[i] for i in chosen[:shots])


def other_orders(
    shown: tuple[Demonstration, ...], count: int, *, seed: int
) -> Iterator[tuple[Demonstration, ...]]:
    """Up to `count` different random orders of a set, none of them the present one."""
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


def _one_of_each(groups: list[list[Demonstration]], rng: random.Random) -> Iterator[Demonstration]:
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
    """The places of the most central row of each of `count` clusters, all different."""
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
