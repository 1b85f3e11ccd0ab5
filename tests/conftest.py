"""What holds for every test."""

from __future__ import annotations

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """bfloat16 rounds differently for every shape of batch, and is chosen on some machines only."""
    monkeypatch.setenv("LUTHIER_PRECISION", "float32")
