"""The number format of matrix products: asked for, or measured once a machine and kept."""

from __future__ import annotations

import json

import pytest
import torch

from luthier.engine import precision, reference
from luthier.errors import UserError
from luthier.models.adaptation import Adaptation
from luthier.models.backend import ScoreRequest
from luthier.models.prompt import Rendered
from luthier.training.parameters import FROZEN_BASE
from luthier.training.sequential_trials import SequentialTrials
from tests import tiny
from tests.test_training_soft import some_holders, some_rows

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine that multiplies bfloat16 and has never been timed; set `.gain`."""
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path))
    monkeypatch.delenv("LUTHIER_PRECISION")
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: True)
    precision._measured.cache_clear()

    class Machine:
        gain = 1.0
        timed = 0

        def measure(self) -> float:
            self.timed += 1
            return self.gain

    made = Machine()
    monkeypatch.setattr(precision, "measured_speedup", made.measure)
    yield made
    precision._measured.cache_clear()


@pytest.mark.parametrize(
    ("gain", "format_"),
    [(0.5, "float32"), (1.19, "float32"), (1.3, "bfloat16"), (6.0, "bfloat16")],
)
def test_bfloat16_only_where_it_is_clearly_faster(machine, gain, format_):
    machine.gain = gain
    assert precision.matmul_precision() == precision.MatmulPrecision(format_, gain)


def test_a_machine_is_timed_once_and_its_decision_kept(machine):
    machine.gain = 1.3
    first = precision.matmul_precision()
    machine.gain = 0.9  # as a busy machine would have it the next time
    precision._measured.cache_clear()  # a new process
    assert precision.matmul_precision() == first
    assert machine.timed == 1
    assert len(json.loads(precision.precision_file().read_text())) == 1


@pytest.mark.parametrize("held", ["not json", "[]", '{"a": 1}'])
def test_a_broken_memory_is_measured_anew(machine, held):
    precision.precision_file().write_text(held)
    machine.gain = 2.0
    assert precision.matmul_precision().format == "bfloat16"
    assert machine.timed == 1


def test_a_processor_without_bfloat16_is_not_timed(machine, monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_bfloat16", lambda: False)
    assert precision.matmul_precision() == precision.MatmulPrecision("float32")
    assert machine.timed == 0


@pytest.mark.parametrize("format_", ["float32", "bfloat16"])
def test_the_environment_decides(machine, monkeypatch, format_):
    monkeypatch.setenv("LUTHIER_PRECISION", format_)
    assert precision.matmul_precision() == precision.MatmulPrecision(format_)
    assert machine.timed == 0
    with precision.autocast(CPU, torch.float32):
        assert torch.is_autocast_enabled("cpu") == (format_ == "bfloat16")
    with precision.autocast(CPU, torch.float64):
        assert not torch.is_autocast_enabled("cpu")


def test_a_format_that_is_none(monkeypatch):
    monkeypatch.setenv("LUTHIER_PRECISION", "bfloat61")
    with pytest.raises(UserError, match="bfloat16"):
        precision.matmul_precision()


def test_the_measurement_is_a_positive_number():
    assert precision.measured_speedup() > 0


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_scores_in_bfloat16_are_those_of_float32_within_its_rounding(family, monkeypatch):
    backend = tiny.backend(family)
    labels = (" billing", " billing account", " delivery")
    head = "Passage: the quick brown fox jumps over the lazy dog\n\n" * 3
    asked = [ScoreRequest(Rendered(text=f"{head}Input: {i}\nLabel:"), labels) for i in "abcde"]
    exact = backend.score(asked, Adaptation())
    monkeypatch.setenv("LUTHIER_PRECISION", "bfloat16")
    half = backend.score(asked, Adaptation())
    with backend.session(Adaptation()) as session, torch.inference_mode():
        plain = reference.score(session, asked)
    for found in (half, plain):
        gaps = [
            abs(a - b)
            for mine, theirs in zip(found, exact, strict=True)
            for a, b in zip(mine.logprobs, theirs.logprobs, strict=True)
        ]
        assert 0 < max(gaps) < 0.3


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_training_in_bfloat16_is_that_in_float32_within_its_rounding(family, monkeypatch):
    backend = tiny.backend(family)
    rows, found = some_rows(bos=True), []
    with backend.session(Adaptation()) as session:
        holders = some_holders(32)
        trials = SequentialTrials(session, holders, factor=FROZEN_BASE, placement="before")
        for format_ in ("float32", "bfloat16"):
            monkeypatch.setenv("LUTHIER_PRECISION", format_)
            loss = trials.losses(rows, [0])[0]
            found.append((loss.detach(), torch.autograd.grad(loss, holders[0].tokens)[0]))
    (exact, wide), (half, narrow) = found
    assert 0 < abs(exact - half) < 0.1
    assert torch.nn.functional.cosine_similarity(wide.flatten(), narrow.flatten(), 0) > 0.98
