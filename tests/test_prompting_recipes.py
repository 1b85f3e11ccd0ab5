"""Recipes and the registry: techniques by name, in order."""

from __future__ import annotations

import pytest

from luthier import registry
from luthier.errors import CapabilityError, TechniqueError
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Budget, Capability
from luthier.task.task import Task
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.base import Technique, settings_of
from luthier.techniques.prompt.few_shot import FewShot
from luthier.techniques.prompt.prompt_search import PromptSearch
from luthier.techniques.prompt.zero_shot import ZeroShot
from luthier.techniques.recipe import Recipe
from luthier.techniques.spelling import make, parse_technique, parse_techniques, spell
from luthier.testing import check_technique
from tests.test_prompting import make_task


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task()


def test_recipe_holds_the_contract(task: Task) -> None:
    recipe = Recipe.parse("zero-shot(calibrate=True) -> few-shot(shots=4, selection=knn)")
    check_technique(recipe, model=Model(FakeBackend()), task=task, budget=Budget(tokens=60_000))


def test_recipe_scores_every_step(task: Task) -> None:
    recipe = Recipe.parse("zero-shot -> prompt-search(candidates=2) -> few-shot(shots=6)")
    budget = Budget(tokens=90_000)
    fitted = recipe.fit(Model(FakeBackend()), task.without_test(), budget=budget)
    lineage = fitted.lineage
    assert lineage is not None
    steps = [part.step for part in lineage.fit.parts]
    assert steps == ["zero-shot", "prompt-search(candidates=2)", "few-shot(shots=6)"]
    assert all(0 <= (part.dev_score or 0) <= 1 for part in lineage.fit.parts)
    assert lineage.fit.dev_score == lineage.fit.parts[-1].dev_score
    assert (lineage.fit.dev_score or 0) > (lineage.fit.parts[0].dev_score or 0)
    assert lineage.fit.spent_tokens == sum(p.fit.spent_tokens or 0 for p in lineage.fit.parts)
    assert lineage.fit.spent_tokens <= 90_000
    names = []
    while lineage is not None:
        names.append(lineage.technique)
        lineage = lineage.parent
    assert names == [recipe.name, "few-shot", "prompt-search", "zero-shot"]


def test_later_steps_get_what_earlier_ones_left(task: Task) -> None:
    given: list[int | None] = []

    class Greedy(ZeroShot):
        def fit(self, model, task, *, budget, seed=0):  # type: ignore[no-untyped-def]
            given.append(budget.tokens)
            return super().fit(model, task, budget=budget, seed=seed)

    recipe = Recipe.parse("zero-shot -> zero-shot -> zero-shot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("luthier.techniques.prompt.zero_shot.ZeroShot", Greedy)
        recipe.fit(Model(FakeBackend()), task.without_test(), budget=Budget(tokens=900))
    assert given == [300, 450, 900]


def test_recipe_needs_what_its_steps_need(task: Task) -> None:
    recipe = Recipe.parse("few-shot->lora( rank = 4 )")
    assert recipe.name == "few-shot -> lora(rank=4)"
    assert recipe.needs == {Capability.TEXT, Capability.GRADIENTS}
    assert recipe.trained
    assert not Recipe.parse("zero-shot -> few-shot").trained
    with pytest.raises(CapabilityError, match="gradients"):
        recipe.fit(Model(FakeBackend()), task.without_test(), budget=Budget(tokens=1000))


def test_recipe_of_techniques_is_the_recipe_it_spells() -> None:
    recipe = Recipe.of(FewShot(shots=8, selection="knn"), LoRA(rank=4))
    assert recipe == Recipe.parse(recipe.name)
    assert recipe.chain() == (FewShot(shots=8, selection="knn"), LoRA(rank=4))
    nested = Recipe(("zero-shot", "few-shot"))
    assert Recipe(**settings_of(nested)) == nested  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["lora", "few-shot -> ", "-> lora", "few-shot -> lorra"])
def test_bad_recipes_are_refused(text: str) -> None:
    with pytest.raises(TechniqueError):
        Recipe.parse(text)


def test_every_technique_has_its_name_and_card() -> None:
    found, problems = registry.load_all("techniques")
    assert not problems
    assert tuple(found) == registry.names("techniques")
    for name, kind in found.items():
        assert kind.name == name
        assert kind.card.pays_when
        needed = {"teacher": "fake", "unlabelled": "more.csv"} if name == "distil" else {}
        assert isinstance(make(name, **needed), Technique)


def test_unknown_names_and_settings_are_named() -> None:
    with pytest.raises(TechniqueError, match="Did you mean 'few-shot'"):
        make("few-shots")
    with pytest.raises(TechniqueError, match="zero-shot, few-shot, reasoning"):
        make("gradient-free-magic")
    with pytest.raises(TechniqueError, match="Did you mean 'shots'"):
        make("few-shot", shot=3)
    assert make("Few_Shot", shots=3) == FewShot(shots=3)


@pytest.mark.parametrize(
    "technique",
    [
        ZeroShot(),
        ZeroShot(calibrate="batch"),
        FewShot(shots=3, selection="knn", calibrate=False),
        PromptSearch(parts=("format",), proposer="http://localhost:8000/v1#m"),
        LoRA(rank=2),
    ],
    ids=str,
)
def test_spelling_reads_back(technique: Technique) -> None:
    assert parse_technique(spell(technique)) == technique


def test_lists_of_techniques() -> None:
    text = "zero-shot, few-shot(shots=4, selection=knn),few-shot->lora(learning_rates=(0.1, 0.2))"
    zero, few, recipe = parse_techniques(text)
    assert zero == ZeroShot()
    assert few == FewShot(shots=4, selection="knn")
    assert isinstance(recipe, Recipe)
    assert recipe.chain()[1] == LoRA(learning_rates=(0.1, 0.2))


@pytest.mark.parametrize(
    "text", ["few-shot(shots=", "few-shot(3)", "few-shot(shots=4", "few-shot(shots=open('x'))", ""]
)
def test_unreadable_settings_are_refused(text: str) -> None:
    with pytest.raises(TechniqueError):
        parse_technique(text)
