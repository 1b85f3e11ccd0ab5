"""What holds for every test."""

from __future__ import annotations

import os
import sys

import hypothesis
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


# Files of which nearly every test trains a model, runs whole commands, or kills processes.
SLOW_FILES = {
    "test_benchmarks",
    "test_fuzz",
    "test_kills",
    "test_contracts",
    "test_engine_families",
    "test_examples_run",
    "test_feedback_browser",
    "test_training_preferences",
    "test_plugin",
    "test_pretraining",
    "test_rag_cli",
    "test_rag_technique",
    "test_retrieval_kill",
    "test_retrieval_stores",
    "test_serving_process",
    "test_task_fuzz",
    "test_tools_mcp",
    "test_tools_sandbox",
    "test_training",
    "test_training_prefix",
    "test_training_soft",
    "test_training_soft_start",
}


def pytest_collection_modifyitems(items):
    """Mark the tests of those files as slow; a single slow test carries the mark itself."""
    for item in items:
        if item.path.stem in SLOW_FILES:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """bfloat16 rounds differently for every shape of batch, and is chosen on some machines only."""
    monkeypatch.setenv("LUTHIER_PRECISION", "float32")


@pytest.fixture(autouse=True)
def without_embedding_references(monkeypatch):
    """Comparisons do not embed unless a test names an embedder: it takes seconds each time."""
    module = sys.modules.get("luthier.compare.references.suited_references")
    if module is not None:
        monkeypatch.setattr(module, "has_minilm", lambda: False)
