"""The registry: what ships, what packages bring, and what happens when one of them is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint

import pytest

from luthier import registry
from luthier.errors import ModelError, TaskError, TechniqueError, UserError
from luthier.models.fake import FakeBackend
from luthier.models.load import load, open_backend
from luthier.retrieval.embed import open_embedder
from luthier.retrieval.stores import is_address, open_store
from luthier.scoring import resolve_scorer
from luthier.task.read_spec import read_task_spec
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.prompt.zero_shot import ZeroShot
from luthier.techniques.spelling import make

Announce = Callable[..., None]


@pytest.fixture
def announce(monkeypatch: pytest.MonkeyPatch) -> Iterator[Announce]:
    """Pretend that installed packages bring these: announce("scorers", mine="module:attribute")."""
    points: list[EntryPoint] = []

    def bring(kind: str, **plugins: str) -> None:
        for name, value in plugins.items():
            points.append(EntryPoint(name, value, f"luthier.{kind}"))
        registry._plugins.cache_clear()

    monkeypatch.setattr(
        registry, "entry_points", lambda group: [p for p in points if p.group == group]
    )
    registry._plugins.cache_clear()
    yield bring
    registry._plugins.cache_clear()


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in registry.EXTENSION_POINTS for name in registry.names(kind)],
)
def test_every_name_can_be_got_and_has_its_contract(kind: str, name: str) -> None:
    found = registry.get(kind, name)
    assert all(hasattr(found, part) for part in registry.EXTENSION_POINTS[kind].parts)


def test_a_plugin_stands_beside_ours(announce: Announce) -> None:
    announce("techniques", mine="luthier.techniques.prompt.zero_shot:ZeroShot")
    assert registry.names("techniques")[-1] == "mine"
    assert registry.plugin_names("techniques") == ("mine",)
    assert make("mine") == ZeroShot()


def test_a_broken_plugin_says_why_and_leaves_the_others_alone(announce: Announce) -> None:
    announce(
        "techniques",
        broken="no_such_module:Thing",
        mine="luthier.techniques.prompt.zero_shot:ZeroShot",
    )
    announce("techniques", odd="luthier.records:Budget")
    found, problems = registry.load_all("techniques")
    assert "mine" in found
    assert {"broken", "odd"}.isdisjoint(found)
    assert len(problems) == 2
    with pytest.raises(TechniqueError, match=r"'broken' .* could not be imported: ModuleNotFound"):
        make("broken")
    with pytest.raises(TechniqueError, match=r"'odd' .* lacks name, family"):
        make("odd")


def test_a_plugin_does_not_shadow_silently(
    announce: Announce, caplog: pytest.LogCaptureFixture
) -> None:
    announce("techniques", lora="no_such_module:Thing")
    assert "lora" not in registry.plugin_names("techniques")
    assert "'lora' of a plugin (no_such_module:Thing) is passed over" in caplog.text
    assert make("lora") == LoRA()


def test_of_two_plugins_with_one_name_the_second_is_named(
    announce: Announce, caplog: pytest.LogCaptureFixture
) -> None:
    announce("scorers", first_word="builtins:len")
    announce("scorers", **{"first-word": "builtins:max"})
    assert registry.get("scorers", "first-word") is len
    assert "(builtins:max) is passed over: the name belongs" in caplog.text
    assert "(builtins:len)" in caplog.text


@pytest.mark.parametrize(
    ("kind", "error", "name", "meant"),
    [
        ("techniques", TechniqueError, "few-shots", "few-shot"),
        ("scorers", TaskError, "acuracy", "accuracy"),
        ("backends", ModelError, "fakes", "fake"),
        ("stores", UserError, "qdrantt", "qdrant"),
        ("embedders", UserError, "minilmm", "minilm"),
    ],
)
def test_unknown_names_get_the_choices(
    kind: str, error: type[UserError], name: str, meant: str
) -> None:
    with pytest.raises(error, match=f"Did you mean '{meant}'") as caught:
        registry.get(kind, name)
    assert caught.value.choices == registry.names(kind)


def test_a_scorer_of_a_plugin_may_stand_in_a_task(announce: Announce) -> None:
    announce("scorers", tail="tests.test_registry:same_end")
    scorer = resolve_scorer("tail")
    assert (scorer.metric, scorer.score("abc", "xbc")) == ("tail", 1.0)
    spec = {"name": "n", "instruction": "i", "data": "d.csv", "input": "a", "target": "b"}
    assert read_task_spec({**spec, "scorer": "Tail"}, where="here").scorer == "tail"
    with pytest.raises(TaskError, match="tail"):
        read_task_spec({**spec, "scorer": "tails"}, where="here")


def same_end(prediction: str, target: str) -> float:
    return float(prediction[-1:] == target[-1:])


class Loud(FakeBackend):
    """A backend that a package could bring."""


def test_a_backend_of_a_plugin_opens_what_begins_with_its_name(announce: Announce) -> None:
    announce("backends", loud="tests.test_registry:Loud")
    backend = load("loud:anything/else").backend
    assert isinstance(backend, Loud)
    assert backend.name == "loud:anything/else"
    with pytest.raises(ModelError, match="loud:…"):
        open_backend("lout:anything")


def test_addresses(announce: Announce) -> None:
    announce("stores", shelf="builtins:str")
    announce("embedders", letters="builtins:str")
    assert registry.addressed("backends", "http://host/v1") == "endpoint"
    assert registry.addressed("backends", "fake") == "fake"
    for plain in ("local", "endpoint", "http", "org/name", "models/fake", "C:\\models"):
        assert registry.addressed("backends", plain) is None
    assert is_address("qdrant+http://host#index")
    assert is_address("shelf://there")
    assert not any(map(is_address, ("sqlite://there", "shelf", "there", "shelves://there")))
    assert open_store("shelf://there") == "shelf://there"
    assert open_embedder("letters:small") == "letters:small"
