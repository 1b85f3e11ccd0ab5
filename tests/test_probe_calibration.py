"""Confidence against accuracy on planted truths: temperatures that are known, answers in a known
order."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.probe.reliability import at_temperature, best_temperature, reliability
from luthier.probe.risk_coverage import risk_coverage

LABELS = 5


def planted(count, *, factor, seed):
    """Log-probabilities times `factor`, and targets drawn from the true ones."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(LABELS, 0.7), count)
    targets = [int(rng.choice(LABELS, p=row)) for row in true]
    return factor * np.log(np.maximum(true, 1e-9)), targets


def measured(logprobs, targets, temperature=1.0):
    chances = at_temperature(logprobs, temperature)
    right = [float(best == t) for best, t in zip(chances.argmax(1), targets, strict=True)]
    return reliability(list(chances.max(1)), right)


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_the_temperature_undoes_a_planted_one(factor):
    logprobs, targets = planted(1500, factor=factor, seed=1)
    assert best_temperature(logprobs, targets) == pytest.approx(factor, rel=0.15)


def test_a_believer_is_found_and_mended():
    fitted, held_out = planted(400, factor=3.0, seed=2), planted(400, factor=3.0, seed=3)
    before = measured(*held_out)
    after = measured(*held_out, best_temperature(*fitted))
    assert before.bias > 0.15
    assert before.ece.value > 4 * before.floor
    assert abs(after.bias) < 0.06
    assert after.ece.value < 0.5 * before.ece.value


def test_a_doubter_has_a_negative_bias():
    assert measured(*planted(400, factor=0.3, seed=4)).bias < -0.1


def test_a_calibrated_base_is_no_worse_than_its_floor_says():
    found = [measured(*planted(120, factor=1.0, seed=seed)) for seed in range(12)]
    errors, floors = [f.ece.value for f in found], [f.floor for f in found]
    assert np.mean(errors) == pytest.approx(np.mean(floors), rel=0.2)
    assert min(floors) > 0.02  # few answers scatter: an error of 0 is not to be had


def test_bins_hold_equally_many_answers():
    rng = np.random.default_rng(0)
    found = reliability(list(rng.random(100)), [1.0] * 100)
    assert {b.answers for b in found.bins} == {10}
    assert [b.confidence for b in found.bins] == sorted(b.confidence for b in found.bins)
    assert sum(b.answers for b in reliability([0.5] * 13, [1.0] * 13).bins) == 13


def test_the_error_of_known_bins():
    found = reliability([0.9] * 8 + [0.1] * 8, [1.0] * 4 + [0.0] * 12)
    assert found.ece.value == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert found.ece.low <= found.ece.value <= found.ece.high


def test_nothing_gives_nothing():
    assert reliability([], []) is None
    assert risk_coverage([], []) is None
    assert best_temperature(np.zeros((0, 3)), []) is None
    assert best_temperature(np.zeros((4, 1)), [0, 0, 0, 0]) is None


def test_the_curve_of_an_oracle_and_of_its_opposite():
    right = [1.0, 1.0, 1.0, 0.0]
    oracle = risk_coverage([0.9, 0.8, 0.7, 0.1], right)
    assert oracle.aurc == pytest.approx(oracle.least) == pytest.approx(0.25 / 4)
    assert oracle.gain == pytest.approx(1.0)
    opposite = risk_coverage([0.1, 0.2, 0.3, 0.9], right)
    assert opposite.aurc == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert opposite.gain < 0


def test_equal_confidence_tells_nothing_whatever_the_order_of_the_data():
    right = [1.0] * 30 + [0.0] * 10
    for answers in (right, right[::-1]):
        blind = risk_coverage([0.5] * 40, answers)
        assert blind.aurc == pytest.approx(0.25)
        assert blind.gain == pytest.approx(0.0, abs=1e-9)
        assert {round(p.risk, 9) for p in blind.points} == {0.25}


def test_all_right_leaves_nothing_to_gain():
    found = risk_coverage([0.2, 0.4], [1.0, 1.0])
    assert found.aurc == 0.0
    assert found.gain is None
    assert found.points[-1].coverage == 1.0
