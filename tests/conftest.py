"""What holds for every test."""

from __future__ import annotations

import os

import hypothesis
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """bfloat16 rounds differently for every shape of batch, and is chosen on some machines only."""
    monkeypatch.setenv("LUTHIER_PRECISION", "float32")
