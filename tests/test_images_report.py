"""Pictures where people see them: the report's grids, and `luthier ask --out`."""

from __future__ import annotations

import base64
import random
import re
import shutil

import pytest
from typer.testing import CliRunner

pytest.importorskip("PIL")

from luthier import Task
from luthier.cli.main import app
from luthier.compare import compare
from luthier.images.drawing import Drawing
from luthier.images.picture_files import open_picture, pictures_folder
from luthier.images.scenes.draw_lots import random_request
from luthier.images.scripted_scenes import ScriptedScenes
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Budget
from luthier.report.html import render_html, write_html
from luthier.report.sections.drawn import drawn_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture(scope="module")
def found(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUTHIER_CACHE", str(folder / "cache"))
        draw, rows = random.Random(7), {}
        while len(rows) < 60:
            words = random_request(draw, most=2).words
            rows[words] = {"input": words, "target": words}
        task = Task.from_examples(list(rows.values()), kind="image", name="drawn", leaks="keep")
        backend = ScriptedScenes(errors=0.4, terms={"sharp": -0.4})
        techniques = 'zero-shot, term-search(terms="sharp, 4k", rounds=1)'
        return compare(
            task, Model(backend), techniques=techniques, budget=Budget(tokens=4_000), seeds=1,
            out=folder / "run",
        )  # fmt: skip


@pytest.fixture
def cache(folder, monkeypatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(folder / "cache"))


def test_the_grid_shows_the_techniques_on_the_same_requests(found, cache):
    drawn = drawn_pictures(found)
    assert [row.technique for row in drawn.rows] == [r.technique for r in found.results]
    assert len(drawn.requests) == 8
    for row in drawn.rows:
        assert [p.request for p in row.pictures] == list(drawn.requests)
        assert all(p.source.startswith("data:image/png;base64,") for p in row.pictures)
    # Requests on which the techniques differ come first.
    first, second = (row.pictures for row in drawn.rows)
    differ = [a.right != b.right for a, b in zip(first, second, strict=True)]
    assert differ == sorted(differ, reverse=True)
    assert differ[0]


def test_the_worst_pictures_say_what_is_wrong(found, cache):
    drawn = drawn_pictures(found)
    pick = next(r for r in found.results if r.technique == drawn.worst_of)
    wrong = [s for s in pick.runs[0].sample_scores if s.value < 1]
    assert drawn.wrong == len(wrong)
    assert all(not p.right and "(" in p.words for p in drawn.worst)


def test_the_page_holds_its_pictures(found, cache, folder):
    page = render_html(found)
    sources = re.findall(r'src="([^"]+)"', page)
    assert len(sources) >= 16
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "img-src data:" in page
    assert "--out picture.png" in page
    assert write_html(found, folder / "report.html").stat().st_size < 2_000_000


def test_pictures_that_are_gone_are_told(found, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("LUTHIER_CACHE", str(folder / "cache"))
    kept = tmp_path / "kept"
    shutil.move(pictures_folder(), kept)
    try:
        assert "the file is gone" in render_html(found)
    finally:
        shutil.move(kept, pictures_folder())


def run(*arguments):
    return CliRunner().invoke(app, ["ask", *map(str, arguments)])


def refused(*arguments):
    from luthier.errors import UserError

    result = run(*arguments)
    if isinstance(result.exception, UserError):
        return str(result.exception)
    assert result.exit_code == 2, result.output
    return result.output


def test_ask_draws_a_picture(cache, tmp_path):
    out = tmp_path / "new" / "picture.png"
    result = run("fake-scenes", "a red circle", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out)
    assert open_picture(out).shape == (64, 64, 3)
    assert (open_picture(out) == ScriptedScenes().picture(Drawing("a red circle"))).all()
    again = run("fake-scenes", "a red circle", "--out", out, "--seed", 5)
    assert again.exit_code == 0
    other = ScriptedScenes().picture(Drawing("a red circle", seed=5))
    assert (open_picture(out) == other).all()


def test_ask_leads_away_from_what_must_not_be_seen(cache, tmp_path, folder):
    model = Model(ScriptedScenes()).adapt(prompt=Prompt(negative="blue"))
    saved = model.save(tmp_path / "saved")
    result = run(saved, "some shapes", "--negative", "red, green", "--out", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    wanted = ScriptedScenes().picture(Drawing("some shapes", negative="red, green"))
    assert (open_picture(tmp_path / "a.png") == wanted).all()


def test_what_ask_refuses(cache, tmp_path):
    assert "for models that draw" in refused("fake", "hello", "--out", tmp_path / "a.png")
    assert "for models that draw" in refused("fake", "hello", "--negative", "red")
    assert "no name of a PNG" in refused("fake-scenes", "a star", "--out", tmp_path / "a.jpg")
    (tmp_path / "notes.png").write_text("mine", "utf-8")
    told = refused("fake-scenes", "a star", "--out", tmp_path / "notes.png")
    assert "it is no PNG" in " ".join(told.split())
    assert (tmp_path / "notes.png").read_text("utf-8") == "mine"
    assert "nothing was asked" in refused("fake-scenes", " ")


def test_a_model_of_text_still_answers(cache):
    assert Model(FakeBackend(reply={"hello": "hi"})).ask("hello") == "hi"
    assert run("fake", "hello").exit_code == 0
