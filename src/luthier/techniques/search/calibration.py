"""Label biases: what is subtracted from each label's log-probability before the largest is taken.

A language model prefers some labels whatever the input says: common words, short ones, the one
shown last. Four estimates of that preference, each a vector b over labels for argmax_y v_y - b_y:

- none        b = 0
- contextual  b_y = log mean_k p(y | content-free input k)      (arXiv:2102.09690, section 5)
- batch       b_y = mean_i log p(y | input i)                   (arXiv:2309.17249, section 3)
- prior       b such that mean_i softmax(v_i - b)_y = prior_y   (arXiv:2309.04992, section 2.2, with
              the class frequencies of the training examples for its uniform prior)

Batch and prior use inputs without their targets. All work on scores that an evaluation has computed
anyway; only contextual asks the model something more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from luthier.errors import TechniqueError, did_you_mean
from luthier.models.adaptation import Decoding
from luthier.models.model import Model
from luthier.records import Capability

Calibration = Literal["none", "contextual", "batch", "prior"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)
CONTENT_FREE = ("N/A", "[MASK]", "")

Scores = NDArray[np.float64]
"""(N, L): N inputs, L labels, natural logs."""


def contextual_bias(content_free: Scores) -> Scores:
    """(L,) from the scores of content-free inputs, each normalised over the labels first."""
    return np.asarray(np.log(np.maximum(_softmax(content_free).mean(axis=0), 1e-12)))


def batch_bias(values: Scores) -> Scores:
    """(L,): the mean log-probability of each label among the labels."""
    return np.asarray(log_softmax(values).mean(axis=0))


def prior_bias(values: Scores, prior: Scores, *, steps: int = 100) -> Scores:
    """(L,): the bias under which the mean predicted distribution equals `prior` (L,).

    Fixed point of b <- b + log(mean_i softmax(v_i - b) / prior), the update of iterative
    proportional fitting on the label margin.
    """
    bias = np.zeros(values.shape[1])
    for _ in range(steps):
        mean = _softmax(values - bias).mean(axis=0)
        change = np.log(np.maximum(mean, 1e-12)) - np.log(prior)
        bias = bias + change
        if float(np.abs(change).max()) < 1e-5:
            break
    return np.asarray(bias - bias.mean())


def class_prior(targets: Sequence[str], labels: Sequence[str]) -> Scores:
    """(L,): how often each label occurs, one added to each count so that none is impossible."""
    seen = Counter(targets)
    counts = np.array([1.0 + seen[label] for label in labels])
    return np.asarray(counts / counts.sum())


def cross_fitted(
    values: Scores, estimate: Callable[[Scores], Scores], *, folds: int = 10, seed: int = 0
) -> Scores:
    """`values` (N, L) minus a bias that `estimate` finds on the other folds, so that no input
    corrects itself."""
    rows = values.shape[0]
    if rows < 4:
        return values - estimate(values)
    fold = np.random.default_rng(seed).permutation(rows) % min(folds, rows)
    adjusted = np.empty_like(values)
    for k in range(int(fold.max()) + 1):
        adjusted[fold == k] = values[fold == k] - estimate(values[fold != k])
    return adjusted


def allowed_calibrations(calibrate: object, *, can_score: bool) -> tuple[Calibration, ...]:
    """The calibrations that a setting admits, the simplest first.

    "auto" admits all, "none" included; True all but "none"; False only "none"; a name that one.
    Without log-probabilities of labels (`can_score` False) there is nothing to calibrate.
    """
    if not can_score or calibrate is False:
        return ("none",)
    if calibrate == "auto":
        return CALIBRATIONS
    if calibrate is True:
        return CALIBRATIONS[1:]
    return (next(c for c in CALIBRATIONS if c == calibrate),)


def check_calibration(technique: str, calibrate: object) -> None:
    """TechniqueError when `calibrate` is none of the values it may have."""
    choices = ("True", "False", "auto", *CALIBRATIONS)
    if isinstance(calibrate, bool) or calibrate == "auto" or calibrate in CALIBRATIONS:
        return
    raise TechniqueError(
        f"{technique}: calibrate={calibrate!r} is no calibration",
        choices=choices,
        next_step=did_you_mean(str(calibrate), choices),
    )


def log_softmax(values: Scores) -> Scores:
    """Log-probabilities over the labels, row by row."""
    top = values.max(axis=1, keepdims=True)
    shifted = values - top
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _softmax(values: Scores) -> Scores:
    return np.asarray(np.exp(log_softmax(values)))


def scores_labels(model: Model, decoding: Decoding) -> bool:
    """Whether answers come with a log-probability for each label."""
    return bool(decoding.labels) and Capability.LOGPROBS in model.capabilities
