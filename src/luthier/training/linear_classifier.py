"""A linear classifier on features that do not train: multinomial logistic regression.

p(y | x) = softmax(W x + b), fitted with an L2 penalty of strength 1 / C (`scikit-learn`, L-BFGS).
C is the one whose classifier is right most often on dev; of equals, the one with the least loss
there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PENALTIES = (1.0, 10.0, 100.0)  # C, of which a larger one holds the weights back less
WITHOUT_DEV = 1.0
MOST_STEPS = 300

Features = Any  # an array (N, H), or a sparse matrix of that shape
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LinearFit:
    """W (L, H) and b (L,) of the L `labels` that occur in training, in alphabetical order.

    `accuracy` and `loss` (nats an example) are those on dev, None where there is no dev split.
    """

    weight: Floats
    bias: Floats
    labels: tuple[str, ...]
    c: float
    accuracy: float | None = None
    loss: float | None = None

    def logits(self, features: Features) -> npt.NDArray[np.float64]:
        """(N, L)."""
        found: npt.NDArray[np.float64] = np.asarray(features @ self.weight.T, np.float64)
        return found + self.bias

    def predict(self, features: Features) -> list[str]:
        """The likeliest label of each row."""
        return [self.labels[i] for i in self.logits(features).argmax(1)]

    @property
    def parameters(self) -> int:
        """How many numbers were fitted."""
        return int(self.weight.size + self.bias.size)


def fit_linear(
    train: tuple[Features, Sequence[str]],
    dev: tuple[Features, Sequence[str]],
    *,
    penalties: Sequence[float] = PENALTIES,
) -> LinearFit:
    """The best classifier over the penalties; each split is its features and its targets."""
    features, targets = train
    if len(set(targets)) == 1:  # nothing to tell apart
        width = int(features.shape[1])
        only = LinearFit(
            np.zeros((1, width), np.float32), np.zeros(1, np.float32), (targets[0],), WITHOUT_DEV
        )
        return _scored(only, *dev)
    if not dev[1]:
        return _fitted(features, targets, penalties[0] if len(penalties) == 1 else WITHOUT_DEV)
    fits = [_scored(_fitted(features, targets, c), *dev) for c in penalties]
    return max(fits, key=lambda fit: (fit.accuracy or 0.0, -(fit.loss or 0.0)))


def _fitted(features: Features, targets: Sequence[str], c: float) -> LinearFit:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # With a weak penalty the last digits of the weights take longer than they are worth.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = LogisticRegression(C=c, max_iter=MOST_STEPS).fit(features, list(targets))
    weight, bias = np.asarray(found.coef_), np.asarray(found.intercept_)
    if len(found.classes_) == 2:  # one row says how far the second label is ahead
        weight = np.concatenate([np.zeros_like(weight), weight])
        bias = np.concatenate([np.zeros_like(bias), bias])
    labels = tuple(str(label) for label in found.classes_)
    return LinearFit(weight.astype(np.float32), bias.astype(np.float32), labels, c)


def _scored(fit: LinearFit, features: Features, targets: Sequence[str]) -> LinearFit:
    if not targets:
        return fit
    logits = fit.logits(features)
    shifted = logits - logits.max(1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    places = {label: i for i, label in enumerate(fit.labels)}
    right = [places.get(t) == int(best) for t, best in zip(targets, logits.argmax(1), strict=True)]
    # A label that training does not hold costs every fit the same.
    known = [float(logprobs[i, places[t]]) for i, t in enumerate(targets) if t in places]
    loss = -math.fsum(known) / len(targets)
    return LinearFit(fit.weight, fit.bias, fit.labels, fit.c, sum(right) / len(targets), loss)
