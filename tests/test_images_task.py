"""Tasks of pictures: what must be seen and what must not, task files, what does not fit."""

from __future__ import annotations

import random
import struct
import zlib

import numpy as np
import pytest

pytest.importorskip("PIL")
from PIL import Image

from luthier import Task, evaluate
from luthier.errors import CapabilityError, TaskError, UserError
from luthier.images.picture_files import keep_picture, open_picture, png_bytes, resized
from luthier.images.scenes.draw import draw_scene
from luthier.images.scenes.draw_lots import random_request, random_scene
from luthier.images.scenes.expectation import parse_expectation
from luthier.images.scenes.read import read_picture
from luthier.images.scenes.scene import Scene, Thing
from luthier.images.scripted_scenes import ScriptedScenes
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Budget, Kind
from luthier.scoring.resolve import resolve_scorer
from luthier.techniques.prompt.zero_shot import ZeroShot
from luthier.testing import check_scorer

RED = Thing("circle", "red", "medium", "plain", 20, 32)
BLUE = Thing("square", "blue", "medium", "plain", 46, 32)
BOTH = draw_scene(Scene((RED, BLUE)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))


def rows(count=60):
    draw, found = random.Random(5), {}
    while len(found) < count:
        words = random_request(draw, most=2).words
        found[words] = {"input": words, "target": words}
    return list(found.values())


def task(**keys):
    return Task.from_examples(rows(), kind="image", **({"name": "drawn"} | keys))


@pytest.mark.parametrize(
    ("words", "met", "missed"),
    [
        ("a red circle left of a blue square", True, ()),
        ("a red circle and a blue square; no stars; not at night", True, ()),
        ("a red circle", False, ("more shapes than were asked for",)),
        ("a red circle and others", True, ()),
        ("a red circle; a blue square", True, ()),
        ("no blue", False, ("blue is seen",)),
        ("a red circle and others; no squares", False, ("squares is seen",)),
        ("a shape and a shape; no white background", False, ("white background is seen",)),
        ("a red circle right of a blue square; no large shapes", False, None),
    ],
)
def test_what_must_be_seen_and_what_must_not(words, met, missed):
    expectation, seen = parse_expectation(words), read_picture(BOTH)
    assert expectation.met_by(seen) == met
    if missed is not None:
        assert expectation.missed_by(seen) == missed


def test_facts_say_how_near_a_picture_comes():
    seen = read_picture(BOTH)
    facts = parse_expectation("a red star left of a blue square; no circles").facts(seen)
    held = {fact.words: fact.holds for fact in facts}
    assert held == {
        "a red star: star": False,
        "a red star: red": True,
        "a blue square: square": True,
        "a blue square: blue": True,
        "left of": True,
        "no more shapes than that": True,
        "no circles": False,
    }
    assert all(fact.holds for fact in parse_expectation("two shapes").facts(seen))


def test_all_facts_hold_of_a_picture_that_meets_everything():
    draw, met = random.Random(1), 0
    for _ in range(60):
        request = random_request(draw)
        scene = random_scene(request, draw)
        if scene is None:
            continue
        expectation, seen = parse_expectation(request.words), read_picture(draw_scene(scene))
        if expectation.met_by(seen):
            met += 1
            assert all(fact.holds for fact in expectation.facts(seen)), request.words
    assert met > 40


@pytest.mark.parametrize("words", ["", "; ;", "no dragons", "a dragon", "no red circle and a star"])
def test_what_names_nothing_is_refused(words):
    with pytest.raises(ValueError):
        parse_expectation(words)


def test_the_scorers_of_scenes():
    path = str(keep_picture(BOTH))
    scene, facts = resolve_scorer("scene"), resolve_scorer("scene-facts")
    target = "a red circle left of a blue square; no stars"
    assert scene.score(path, target) == facts.score(path, target) == 1.0
    assert scene.score("", target) == facts.score("", target) == 0.0
    wrong = "a red star left of a blue square"
    assert scene.score(path, wrong) == 0.0
    assert 0.5 < facts.score(path, wrong) < 1.0
    assert scene.remarks(path, wrong) == ("a red star",)
    pairs = [(path, target), ("", target), (path, wrong)]
    for scorer in (scene, facts):
        check_scorer(scorer, pairs=pairs, truth_is_best=False)
    with pytest.raises(TaskError, match="must not"):
        scene.check_target("a dragon")


def test_pictures_of_other_sizes_are_read_too():
    double = BOTH.repeat(2, 0).repeat(2, 1)
    path = str(keep_picture(double))
    assert resolve_scorer("scene").score(path, "a red circle left of a blue square") == 1.0
    wide = np.concatenate([double[:, :20], double, double[:, :20]], 1)
    assert resized(wide, 64).shape == (64, 64, 3)


def test_a_model_that_draws_is_scored():
    drawn = task()
    assert drawn.kind is Kind.IMAGE
    result = evaluate(Model(ScriptedScenes(errors=0.0)), drawn, split="train")
    assert result.score.metric == "scene"
    assert result.score.value > 0.9
    assert [s.metric for s in result.secondary] == ["scene-facts"]
    worse = evaluate(Model(ScriptedScenes(errors=1.0)), drawn, split="train")
    assert worse.score.value < 0.5 < worse.secondary[0].value
    missed = [s for s in worse.sample_scores if s.value == 0]
    assert all(s.remarks for s in missed)


def test_zero_shot_says_what_the_task_says(monkeypatch):
    asked = []
    drawn = ScriptedScenes.generate

    def spy(self, requests, adaptation):
        asked.extend((r.prompt.text, r.negative.text) for r in requests)
        asked.append(adaptation.decoding.steps)
        return drawn(self, requests, adaptation)

    monkeypatch.setattr(ScriptedScenes, "generate", spy)
    own = task(instruction="sharp", negative="blurry", steps=3)
    model = ZeroShot().fit(Model(ScriptedScenes()), own.without_test(), budget=Budget())
    model.answer(own.test[:1])
    assert asked == [(f"{own.test[0].text}, sharp", "blurry"), 3]


def test_what_does_not_go_together_is_refused():
    with pytest.raises(CapabilityError, match="asks for pictures, and fake answers with text"):
        evaluate(Model(FakeBackend()), task())
    with pytest.raises(CapabilityError, match="asks for pictures"):
        ZeroShot().fit(Model(FakeBackend()), task().without_test(), budget=Budget())
    text = Task.from_examples(rows(), kind="generate", instruction="Say it again.")
    with pytest.raises(CapabilityError, match="draws pictures"):
        evaluate(Model(ScriptedScenes()), text)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"kind": "image", "scorer": "rouge-l"}, "reads text"),
        ({"kind": "generate", "instruction": "x", "scorer": "scene"}, "looks at pictures"),
        ({"kind": "generate", "instruction": "x", "steps": 3}, "belongs to kind image"),
        ({"kind": "generate", "instruction": "x", "picture": "p"}, "belongs to kind image"),
        ({"kind": "image", "labels": ["a", "b"]}, "belong to kind classify"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys, says):
    with pytest.raises(TaskError, match=says):
        Task.from_examples(rows(), **keys)


def test_targets_that_no_program_can_check_are_refused():
    bad = [{"input": f"a dragon with {i} heads", "target": f"{i} dragons"} for i in range(40)]
    with pytest.raises(TaskError, match="cannot be checked in a scene"):
        evaluate(Model(ScriptedScenes()), Task.from_examples(bad, kind="image"))


def test_rows_may_bring_pictures(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(png_bytes(BOTH // (i + 1)))
    some = [row for row in rows() if "," not in row["input"]][:40]
    shown = [{"input": "a red circle", "target": "a red circle", "picture": f"{i}.png"}
             for i in range(8)]  # fmt: skip
    lines = ["input,target,picture", *(f"{r['input']},{r['target']},{r.get('picture', '')}"
             for r in shown)]  # fmt: skip
    (tmp_path / "train.csv").write_text("\n".join([*lines, *_plain(some[:20])]), "utf-8")
    (tmp_path / "test.csv").write_text("\n".join([lines[0], *_plain(some[20:])]), "utf-8")
    file = tmp_path / "task.yaml"
    file.write_text(
        "kind: image\ninput: input\ntarget: target\npicture: picture\n"
        "split: {train: train.csv, test: test.csv}\n", "utf-8",
    )  # fmt: skip
    loaded = Task.load(file)
    pictures = [e.picture for e in (*loaded.train, *loaded.dev) if e.picture]
    assert len(pictures) == 8
    assert all(open_picture(p).shape == (64, 64, 3) for p in pictures)
    before = loaded.fingerprint
    (tmp_path / "3.png").write_bytes(png_bytes(255 - BOTH))
    assert Task.load(file).fingerprint != before
    (tmp_path / "3.png").write_bytes(b"no picture")
    with pytest.raises(TaskError, match="cannot be read as a picture"):
        Task.load(file)


def _plain(some):
    return [f"{r['input']},{r['target']}," for r in some]


def saved(picture, path, **more):
    picture.save(path, **more)
    return path


def test_pictures_of_every_mode_become_colours(tmp_path):
    colours = Image.fromarray(BOTH)
    for mode, suffix in (("L", "png"), ("P", "png"), ("1", "png"), ("CMYK", "jpg"), ("LA", "png")):
        path = saved(colours.convert(mode), tmp_path / f"{mode}.{suffix}")
        assert open_picture(path).shape == (64, 64, 3)
    clear = Image.new("RGBA", (5, 4), (255, 0, 0, 0))
    assert (open_picture(saved(clear, tmp_path / "clear.png")) == 255).all()
    deep = Image.fromarray((np.arange(64 * 64, dtype=np.uint16) * 16).reshape(64, 64))
    read = open_picture(saved(deep, tmp_path / "deep.png"))
    assert (read.min(), read.max()) == (0, 254)


def bomb(width, height):
    """A PNG of a few bytes that says that it is enormous."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"GIF89a", png_bytes(BOTH)[:200], bomb(60_000, 60_000), bomb(9_000, 9_000),
        b"%PDF-1.4", bomb(0, 10), b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)  # fmt: skip
def test_broken_and_huge_files_are_refused(tmp_path, content):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as a picture|unpacks to"):
        open_picture(path)


def test_files_that_are_no_plain_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        open_picture(tmp_path / "missing.png")
    with pytest.raises(UserError, match="cannot be read"):
        open_picture(tmp_path)
