"""Terms of pictures: planted truths are found, and what is shown and said of them is right."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("PIL")

from benchmarks import picture_terms as planted

from luthier.cli.main import run
from luthier.errors import BudgetError, UserError
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.report.sheet_view import picture_sentences
from luthier.report.terms_page import terms_page
from luthier.scoring.terms import PictureDesign, plan_picture_terms, study_picture_terms
from luthier.scoring.terms.picture_terms import (
    contradictions,
    phrases,
    picture_terms_of,
    with_picture_terms,
)


@pytest.fixture(scope="module")
def task():
    return planted.planted_task()


@pytest.fixture(scope="module")
def done(task, tmp_path_factory):
    return planted.study(task, 768, columns=2, folder=tmp_path_factory.mktemp("pictures"))


def test_planted_terms_are_found_and_inert_ones_are_not(task, done, tmp_path):
    terms, pairs = planted.found_by(done)
    assert terms == planted.ACTING
    assert pairs == set(planted.TOGETHER)
    more = planted.detection(task, 768, range(1, 4), tmp_path)
    assert more["acting found"] >= 0.9
    assert more["false alarms"] <= 0.1


def test_a_factorial_design_needs_less_than_half_the_pictures_of_leaving_one_out(task, tmp_path):
    found = planted.against_leave_one_out(task, 504, range(2), tmp_path)
    assert found["leave-one-out takes times as many"] > 2


def test_shapley_values_of_pictures_find_the_strong_terms(task, tmp_path):
    found = planted.study(task, 720, design="permutations", folder=tmp_path)
    terms, _ = planted.found_by(found)
    assert {"blur", "watercolour"} <= terms
    assert not terms & {*planted.INERT, *planted.INERT_NEGATIVE}


def test_words_page_and_json_tell_what_was_found(done):
    said = " ".join(picture_sentences(done))
    assert "Harms: “watercolour”" in said
    assert "“studio light” and “calm mood” act together" in said
    assert re.search(r"Does nothing, not even to the picture: .*“please”", said)
    page = terms_page(done)
    assert page.count("<img") == 2 * len(done.sheet.rows)
    assert "without “watercolour”" in page
    assert "<script" not in page
    plain = json.loads(json.dumps(done.to_json(), allow_nan=False))
    assert plain["pictures"] == 768 + 2 * 10
    assert {t["text"] for t in plain["terms"] if t["acts"]} == planted.ACTING


def test_rows_of_the_sheet_share_their_seeds(done):
    first = done.sheet.rows[0]
    assert first.name == "all terms"
    assert first.changed == 0
    inert = next(r for r in done.sheet.rows if r.name == "without “please”")
    same = [np.array_equal(a, b) for a, b in zip(first.pictures, inert.pictures, strict=True)]
    assert any(same)
    assert not np.array_equal(*first.pictures)


def test_what_a_study_takes_is_said_before(task, monkeypatch):
    model = Model(planted.PlantedScenes())
    monkeypatch.setattr(type(model.backend), "generate", lambda *a: pytest.fail("it draws"))
    plan = plan_picture_terms(model, task, PictureDesign(256, added=("b", "c"), columns=4))
    assert (plan.trials, plan.sheet, plan.pairs) == (256, 20, True)
    small = plan_picture_terms(model, task, PictureDesign(1024, added=("b", "c")))
    assert small.smallest == pytest.approx(plan.smallest / 2)
    with pytest.raises(BudgetError, match="fewer than the"):
        plan_picture_terms(model, task, PictureDesign(2, added=("b", "c")))
    with pytest.raises(UserError, match="two or more"):
        plan_picture_terms(model, task)
    with pytest.raises(UserError, match="no design"):
        plan_picture_terms(model, task, PictureDesign(design="guess"))


def test_phrases_come_out_and_go_in_again():
    assert phrases("a red circle, sharp;  4k,") == ["a red circle", "sharp", "4k"]
    prompt, terms = picture_terms_of(Prompt("sharp, 4k", negative="blur"), ["glowing"], ["4k"])
    assert [(t.part, t.text) for t in terms] == [
        ("instruction", "sharp"), ("instruction", "4k"), ("instruction", "glowing"),
        ("negative", "blur"), ("negative", "4k"),
    ]  # fmt: skip
    assert with_picture_terms(prompt, terms, [True] * 5) == prompt
    one = with_picture_terms(prompt, terms, [False, True, False, False, True])
    assert (one.instruction, one.negative) == ("4k", "4k")
    assert contradictions(terms) == ["4k"]


def test_terms_against_each_other_are_told(task, tmp_path):
    model = Model(planted.PlantedScenes(folder=tmp_path)).adapt(prompt=Prompt("4k"))
    found = study_picture_terms(model, task, PictureDesign(8, negatives=("4k",), columns=0))
    assert "work against" in " ".join(picture_sentences(found))


def test_negative_terms_of_a_model_without_that_branch_are_called_inert(task, tmp_path):
    backend = planted.PlantedScenes(folder=tmp_path)
    backend.facts = replace(backend.facts, leads_away=False)
    model = Model(backend).adapt(prompt=Prompt("4k"))
    found = study_picture_terms(model, task, PictureDesign(8, negatives=("blur",), columns=0))
    assert "its negative terms are inert" in " ".join(picture_sentences(found))


TASK = """\
name: two-shapes
kind: image
instruction: 4k, sharp edges
negative: blur
data: rows.csv
input: request
target: wanted
"""


def test_the_command_plans_draws_and_writes_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache.sqlite"))
    rows = [f"a red circle above a {c} {s},a red circle above a {c} {s}"
            for c in ("blue", "green", "pink", "orange", "purple")
            for s in ("star", "cross", "square", "diamond", "triangle")]  # fmt: skip
    (tmp_path / "rows.csv").write_text("request,wanted\n" + "\n".join(rows))
    (tmp_path / "task.yaml").write_text(TASK)
    words = ["terms", "task.yaml", "--model", "fake-scenes", "--trials", "32"]
    assert run([*words, "--plan"]) == 0
    assert "32 pictures of" in (planned := capsys.readouterr()).err
    assert planned.out == ""
    assert run([*words, "--out", "e.html"]) == 0
    assert "negative: blur" in capsys.readouterr().out
    assert "<img" in (tmp_path / "e.html").read_text("utf-8")
    assert run([*words, "--json", "--negative", "ugly"]) == 0
    assert len(json.loads(capsys.readouterr().out)["terms"]) == 4
    bare = TASK.replace("instruction: 4k, sharp edges\nnegative: blur\n", "")
    (tmp_path / "bare.yaml").write_text(bare)
    assert run(["terms", "bare.yaml", "--model", "fake-scenes", "--plan"]) == 0
    assert "No terms are named" in capsys.readouterr().err
    assert run(["terms", "routing", "--model", "fake-scenes"]) == 2
    assert run(["terms", "task.yaml", "--model", "fake"]) == 2
    assert run(["terms", "routing", "--model", "fake", "--negative", "x"]) == 2
