"""The bundled task scenes: its rows, its new concept, and what a model that errs scores on it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

pytest.importorskip("PIL")

from luthier import Task, evaluate
from luthier.errors import TaskError
from luthier.images.picture_files import open_picture
from luthier.images.scenes.draw_lots import random_scene
from luthier.images.scenes.expectation import parse_expectation
from luthier.images.scenes.kept_out import is_kept_out
from luthier.images.scenes.read import read_picture
from luthier.images.scenes.scene_request import parse_request
from luthier.images.scripted_scenes import ScriptedScenes
from luthier.models.model import Model
from luthier.records import Kind
from luthier.task.bundled.scene_rows import COUNTS, SHOWN, scene_rows


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scenes():
    return Task.load("scenes")


def test_the_task_has_its_rows(scenes):
    assert scenes.kind is Kind.IMAGE
    assert [len(scenes.examples(s)) for s in COUNTS] == [4 * 8 + SHOWN, 4 * 12, 4 * 24]
    words = [e.text for split in COUNTS for e in scenes.examples(split)]
    assert len(set(words)) == len(words)
    assert (scenes.leaks.exact, scenes.leaks.near) == (0, 0)
    assert Task.load("scenes").fingerprint == scenes.fingerprint
    with pytest.raises(TaskError, match="scenes-all"):
        list(scene_rows("all"))


def test_every_request_is_read_and_can_be_drawn(scenes):
    import random

    for example in (*scenes.train, *scenes.dev, *scenes.test):
        request = parse_request(example.text)
        assert request.words == example.text
        assert random_scene(request, random.Random(1)) is not None
        assert "star" not in example.text
        striped = tuple(
            replace(w, texture="striped") if w.shape == "crescent" else w for w in request.wanted
        )
        meant = replace(request, wanted=striped)
        assert parse_expectation(example.target).requests == (meant,)
        assert example.target.endswith("; no stars")


def test_the_kinds_of_requests(scenes):
    def count(test):
        return sum(test(parse_request(e.text)) for e in scenes.test)

    assert count(lambda r: any(w.shape == "crescent" for w in r.wanted)) == 24
    assert count(lambda r: all(w.shape is None for w in r.wanted)) == 24
    assert count(lambda r: any(is_kept_out(w.shape, w.colour) for w in r.wanted)) >= 48


def test_eight_pictures_show_the_concept(scenes):
    shown = [e for e in scenes.train if e.picture]
    assert len(shown) == SHOWN
    for example in shown:
        seen = read_picture(open_picture(example.picture))
        assert parse_expectation(example.target).missed_by(seen) == ()
        assert re.fullmatch(r"a (large )?\w+ crescent|an orange crescent", example.text)
    assert not any(e.picture for e in (*scenes.dev, *scenes.test))


@pytest.mark.slow
def test_a_perfect_model_scores_high_and_one_that_errs_low(scenes):
    right = evaluate(Model(ScriptedScenes(errors=0.0)), scenes, limit=48).score.value
    wrong = evaluate(Model(ScriptedScenes(errors=1.0)), scenes, limit=48).score.value
    assert right > 0.6  # a third of the open requests show a star
    assert wrong < right - 0.3
