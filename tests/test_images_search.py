"""Searches over how pictures are asked for, against planted truths."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("PIL")

from luthier import Task, evaluate
from luthier.compare import compare
from luthier.compare.request import default_techniques
from luthier.errors import CapabilityError, TechniqueError
from luthier.images.scenes.draw_lots import random_request
from luthier.images.scripted_scenes import ScriptedScenes
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Budget
from luthier.techniques.image.guidance_search import GuidanceSearch
from luthier.techniques.image.negative_search import NegativeSearch, forbidden_terms
from luthier.techniques.image.term_search import TermSearch
from luthier.techniques.prompt.few_shot import FewShot
from luthier.techniques.spelling import parse_technique
from luthier.testing import check_technique

ENOUGH = Budget(tokens=100_000)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


def task(count=120, tail=""):
    draw, found = random.Random(7), {}
    while len(found) < count:
        words = random_request(draw, most=2).words
        found[words] = {"input": words, "target": words + tail}
    return Task.from_examples(list(found.values()), kind="image", name="drawn", leaks="keep")


@pytest.mark.parametrize(
    "technique",
    [
        TermSearch(terms="sharp, 4k", rounds=1),
        NegativeSearch(terms=("blurry",), rounds=1),
        GuidanceSearch(scales=(1.0, 4.0)),
    ],
)
def test_the_searches_keep_the_contract(technique):
    model = Model(ScriptedScenes(errors=0.3))
    check_technique(
        technique, model=model, task=task(40), budget=Budget(tokens=4_000), reopen=False
    )


@pytest.mark.slow
def test_a_term_that_helps_is_found_and_others_are_left_out():
    terms = {"sharp": -0.45, "4k": 0.0, "detailed": 0.0, "masterpiece": 0.3}
    model = Model(ScriptedScenes(errors=0.5, terms=terms))
    drawn = task()
    fitted = TermSearch(terms=tuple(terms)).fit(model, drawn.without_test(), budget=ENOUGH)
    assert fitted.adaptation.prompt.instruction == "sharp"
    record = fitted.lineage.fit
    assert record.settled["terms"] == "sharp"
    assert 0 < record.spent_tokens <= ENOUGH.tokens
    assert evaluate(fitted, drawn).score.value > evaluate(model, drawn).score.value + 0.2


def test_terms_that_do_nothing_are_not_added():
    model = Model(ScriptedScenes(errors=0.3, terms={"4k": 0.0}))
    fitted = TermSearch(terms=("4k", "detailed")).fit(model, task(80).without_test(), budget=ENOUGH)
    assert fitted.adaptation.prompt.instruction == ""
    assert fitted.lineage.fit.settled["candidate"] == "as it was"


def test_a_term_that_harms_is_taken_out():
    model = Model(ScriptedScenes(errors=0.1, terms={"masterpiece": 0.6}))
    prompted = model.adapt(prompt=Prompt(instruction="masterpiece"))
    fitted = TermSearch(terms=("4k",)).fit(prompted, task(80).without_test(), budget=ENOUGH)
    assert fitted.adaptation.prompt.instruction == ""


def test_the_negative_prompt_is_what_must_not_be_seen():
    backend = ScriptedScenes(errors=0.05, intruder="star")
    drawn = task(tail="; no stars")
    some = [row for row in drawn.train if "star" not in row.input]
    assert len(some) > 40
    assert forbidden_terms(drawn) == ("stars",)
    fitted = NegativeSearch(rounds=2).fit(Model(backend), drawn.without_test(), budget=ENOUGH)
    assert "stars" in fitted.adaptation.prompt.negative
    assert evaluate(fitted, drawn).score.value > evaluate(Model(backend), drawn).score.value


def test_guidance_is_found_where_it_errs_least():
    model = Model(ScriptedScenes(errors=0.0, best_guidance=5.0))
    fitted = GuidanceSearch().fit(model, task().without_test(), budget=ENOUGH)
    assert fitted.adaptation.decoding.guidance_scale == 5.0


def test_without_budget_nothing_is_drawn():
    model = Model(ScriptedScenes(errors=0.5, terms={"sharp": -0.5}))
    fitted = TermSearch().fit(model, task(40).without_test(), budget=Budget(tokens=10))
    assert fitted.lineage.fit.spent_tokens == 0
    assert fitted.adaptation.prompt.instruction == ""
    assert "Nothing was evaluated" in fitted.lineage.fit.notes[0]


def test_what_does_not_suit_is_told():
    drawn = task(40).without_test()
    with pytest.raises(CapabilityError, match="needs drawn pictures"):
        TermSearch().fit(Model(FakeBackend()), drawn, budget=ENOUGH)
    with pytest.raises(CapabilityError, match="needs text"):
        FewShot().fit(Model(ScriptedScenes()), drawn, budget=ENOUGH)


@pytest.mark.parametrize(
    ("spelled", "says"),
    [
        ("term-search(terms='')", "names no term"),
        ("term-search(terms=3)", "no list of terms"),
        ("term-search(rounds=0)", "at least 1"),
        ("negative-search(starts=[2])", "shares of the schedule"),
        ("guidance-search(scales=[])", "numbers of 0 or more"),
    ],
)
def test_settings_that_cannot_be_used(spelled, says):
    with pytest.raises(TechniqueError, match=says):
        parse_technique(spelled)


def test_settings_are_spelled():
    found = parse_technique('term-search(terms="sharp, 4k", rounds=1)')
    assert found == TermSearch(terms=("sharp", "4k"), rounds=1)


@pytest.mark.slow
def test_a_comparison_of_pictures(tmp_path):
    backend = ScriptedScenes(errors=0.5, terms={"sharp": -0.45}, best_guidance=2.0)
    drawn = task(100)
    names = default_techniques(drawn)
    assert names == ("zero-shot", "term-search", "negative-search", "guidance-search")
    found = compare(
        drawn, Model(backend), techniques=names, budget=Budget(tokens=60_000), seeds=1,
        out=tmp_path / "run",
    )  # fmt: skip
    by_name = {r.technique: r for r in found.results}
    assert by_name["term-search"].score.value > by_name["zero-shot"].score.value + 0.2
    assert found.verdict.pick == "term-search"
