"""The linear probe: states of the base, a head on them, and how it answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from luthier.engine import LocalBackend
from luthier.errors import BudgetError, CapabilityError, TechniqueError
from luthier.models.adaptation import Adaptation, VirtualTokens
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import Rendered
from luthier.models.storage import open_adaptation
from luthier.records import Budget
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.head.linear_probe import LinearProbe
from luthier.techniques.spelling import parse_technique
from tests import tiny
from tests.compare_stubs import toy_task

PROMPTS = [Rendered(text="pay"), Rendered(text="where is my parcel, it was due on Monday")]
PLENTY = Budget(tokens=50_000)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_states_are_those_of_the_base(family: str) -> None:
    backend = tiny.backend(family)
    count = backend.facts.layers or 0
    found = backend.pooled_states(PROMPTS, Adaptation(), layers=range(count + 1))
    with backend.session(Adaptation()) as session, torch.inference_mode():
        for prompt, states in zip(PROMPTS, found, strict=True):
            ids = torch.tensor([session.encode(prompt)])
            module = session.module
            reader = module.get_encoder() if session.encoder_decoder else module
            wanted = reader(input_ids=ids, output_hidden_states=True).hidden_states
            own = torch.stack(wanted)[:, 0].float().numpy()
            assert states.tokens == ids.shape[1]
            np.testing.assert_allclose(states.last, own[:, -1], rtol=2e-2, atol=2e-2)
            begin = int(ids[0, 0] == session.tokenizer.bos_token_id and ids.shape[1] > 1)
            np.testing.assert_allclose(
                states.mean, own[:, begin:].mean(1), rtol=2e-2, atol=2e-2
            )  # fmt: skip


def test_a_soft_prompt_changes_the_states() -> None:
    backend = tiny.backend("llama")
    soft = Adaptation(soft_prompt=VirtualTokens(torch.full((2, 3, 32), 0.3)))
    plain = backend.pooled_states(PROMPTS, Adaptation(), layers=(3,))
    moved = backend.pooled_states(PROMPTS, soft, layers=(3,))
    for before, after in zip(plain, moved, strict=True):
        assert after.last.shape == before.last.shape
        assert not np.allclose(before.last, after.last, atol=1e-2)
        assert after.tokens == 2 * (before.tokens + 3)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_probe_learns_what_a_random_base_keeps_apart(family: str, tmp_path: Path) -> None:
    task = toy_task()
    fitted = LinearProbe().fit(tiny.model(family), task.without_test(), budget=PLENTY, seed=1)
    head = fitted.adaptation.head
    assert head is not None
    assert set(head.labels) <= set(task.labels)
    said = fitted.answer(task.test)
    right = sum(r.parsed == e.target for r, e in zip(said, task.test, strict=True))
    assert right / len(task.test) > 0.5  # three queues
    assert all(abs(sum(np.exp(list((r.label_logprobs or {}).values()))) - 1) < 1e-4 for r in said)
    assert "".join(fitted.stream(task.test[0].text)) == fitted.ask(task.test[0].text)
    fitted.save(tmp_path / "probe")
    opened, lineage, _, _ = open_adaptation(tmp_path / "probe")
    again = Model(fitted.backend, opened, lineage).answer(task.test)
    assert [r.parsed for r in again] == [r.parsed for r in said]
    assert opened.filled[-1] == "head"
    files = {p.name for p in (tmp_path / "probe").iterdir()}
    assert files == {"luthier.yaml", "head.safetensors", "examples.txt", "SHA256SUMS"}


def test_settings_choose_layer_and_pooling() -> None:
    task = toy_task()
    technique = LinearProbe(layer=2, pooling="mean")
    fitted = technique.fit(tiny.model("llama"), task.without_test(), budget=PLENTY)
    head = fitted.adaptation.head
    assert head is not None
    assert (head.layer, head.pooling) == (2, "mean")
    with pytest.raises(TechniqueError, match="has 3 layers"):
        LinearProbe(layer=4).fit(tiny.model("llama"), task.without_test(), budget=PLENTY)
    with pytest.raises(TechniqueError, match="pooling='first'"):
        LinearProbe(pooling="first")  # type: ignore[arg-type]


def test_a_small_budget_reads_less_and_is_kept() -> None:
    task, model = toy_task(), tiny.model("llama")
    fitted = LinearProbe(layer=3).fit(model, task.without_test(), budget=Budget(tokens=1500))
    assert fitted.lineage is not None
    record = fitted.lineage.fit
    assert (record.spent_tokens or 0) <= 1500
    assert 0 < (record.train_examples or 0) < len(task.train)
    assert "The budget paid for" in record.notes[0]
    with pytest.raises(BudgetError, match="reading one example"):
        LinearProbe().fit(model, task.without_test(), budget=Budget(tokens=5))


def test_a_head_comes_last() -> None:
    task, model = toy_task().without_test(), tiny.model("llama")
    fitted = LinearProbe(layer=3).fit(model, task, budget=PLENTY)
    with pytest.raises(CapabilityError, match="let the head come last"):
        LoRA().fit(fitted, task, budget=PLENTY)
    both = parse_technique("lora(rank=2, learning_rates=[0.01]) -> linear-probe(layer=3)")
    probed = both.fit(model, task, budget=Budget(tokens=20_000))
    assert {"adapter", "head"} <= set(probed.adaptation.filled)
    moved = probed.answer(task.dev[:4])
    assert moved != fitted.answer(task.dev[:4])


def test_a_backend_without_states_cannot_answer_by_a_head() -> None:
    task = toy_task().without_test()
    fitted = LinearProbe(layer=3).fit(tiny.model("llama"), task, budget=PLENTY)
    other = Model(load("fake").backend, fitted.adaptation)
    with pytest.raises(CapabilityError, match="does not give embeddings"):
        other.ask("hello")
    assert isinstance(fitted.backend, LocalBackend)
