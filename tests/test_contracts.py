"""Every backend and every trained technique, held to its contract."""

from __future__ import annotations

import pytest

from luthier.models.fake import FakeBackend
from luthier.records import Budget, Capability
from luthier.techniques.adapter.ia3 import IA3
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.soft.prefix_tuning import PrefixTuning
from luthier.techniques.soft.soft_prompt import SoftPrompt
from luthier.techniques.weights.full_fine_tuning import FullFineTuning
from tests import tiny
from tests.contract_backend import check_backend
from tests.contracts import check_technique
from tests.test_training import make_task


def test_fake_backend():
    check_backend(FakeBackend())
    check_backend(FakeBackend(capabilities=frozenset({Capability.TEXT})))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_local_backend(family):
    check_backend(tiny.backend(family))


@pytest.mark.parametrize(
    "technique",
    [
        SoftPrompt(tokens=3, learning_rates=(0.7,)),
        PrefixTuning(tokens=3, learning_rates=(0.05,)),
        LoRA(rank=2, learning_rates=(0.01,)),
        IA3(learning_rates=(0.05,)),
        FullFineTuning(learning_rates=(1e-3,)),
    ],
    ids=lambda t: t.name,
)
def test_trained_technique(technique):
    check_technique(
        technique, tiny.model("llama"), make_task(), budget=Budget(tokens=6_000), reopen=False
    )
