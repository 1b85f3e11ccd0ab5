"""Answers sampled in pairs, from a model and from the command line."""

from __future__ import annotations

import json

import pytest

import luthier
from luthier.cli.main import run
from luthier.errors import FeedbackError
from luthier.feedback.from_serving import GivenAnswer, keep_edit, keep_thumb
from luthier.feedback.sample import SampledModel, read_prompts, sample_items
from luthier.ledger.feedback_store import FeedbackStore


@pytest.fixture(scope="module")
def nano():
    return luthier.load("nano").adapt(decoding=luthier.Decoding(max_new_tokens=6))


def test_prompts_of_any_file(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"prompt": "one"}\n{"messages": [{"role": "user", "content": "two"}], "context": "c"}\n'
        '{"input": "one"}\n{"x": 1}\nnope\n{"prompt": " "}\n'
    )
    prompts, bad, place = read_prompts(path)
    assert [p.turns[-1][1] for p in prompts] == ["one", "two"]
    assert prompts[1].context == "c"
    assert [(b.place, place) for b in bad] == [(5, "line"), (4, "line"), (6, "line")]
    text = tmp_path / "p.txt"
    text.write_text("one\n\ntwo\n")
    assert len(read_prompts(text)[0]) == 2
    text.write_text("")
    with pytest.raises(FeedbackError, match="has no prompt"):
        read_prompts(text)


def test_one_models_answers_are_paired_and_two_models_meet(tmp_path, nano):
    path = tmp_path / "p.txt"
    path.write_text("".join(f"Where is parcel {i}?\n" for i in range(6)))
    prompts, _, _ = read_prompts(path)
    one = SampledModel("a", nano, "lora")
    items, without = sample_items([one], prompts, answers=4, temperature=1.3)
    assert 6 <= len(items) + without <= 12
    assert all(len({a.text for a in item.answers}) == 2 for item in items)
    again, _ = sample_items([one], prompts, answers=4, temperature=1.3)
    assert [i.id for i in again] == [i.id for i in items]
    hot = SampledModel("b", nano)
    met, _ = sample_items([one, hot], prompts, answers=1, temperature=1.0, seed=1)
    assert met == []  # they are one model, so that their answers are the same
    with pytest.raises(FeedbackError, match="makes no pair"):
        sample_items([one], prompts, answers=1)
    with pytest.raises(FeedbackError, match="are alike"):
        sample_items([one], prompts, temperature=0.0)


def test_the_command_fills_a_folder(tmp_path, capsys):
    prompts = tmp_path / "p.txt"
    prompts.write_text("Where is my parcel?\nWho are you?\n")
    folder = tmp_path / "fb"
    command = ["feedback", "sample", "nano", "--prompts", str(prompts), "--folder", str(folder)]
    assert run([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    with FeedbackStore(folder / "ledger.sqlite") as store:
        items = store.items()
    assert said["new"] == len(items) > 0
    assert items[0].answers[0].model == "nano"
    assert run([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 0


def test_thumbs_and_edits_of_a_served_model_land_in_the_same_table(tmp_path):
    served = GivenAnswer([("system", "Be brief."), ("user", "Hello?")], "Hi.", "lora", "user-1")
    with FeedbackStore(tmp_path / "l.sqlite") as store:
        assert keep_thumb(store, served, up=False, comment="rude") == "stored"
        assert keep_thumb(store, served, up=False, comment="rude") == "already"
        assert keep_thumb(store, served, up=True) == "changed"
        assert keep_thumb(store, served, up=False, comment="rude") == "changed"
        assert keep_edit(store, served, text="Hello to you.") == "stored"
        with pytest.raises(FeedbackError, match="the answer itself"):
            keep_edit(store, served, text=" Hi. ")
        thumb, edit = store.opinions()
        (item,) = store.items()
    assert (thumb.source, thumb.value, thumb.text) == ("serving", 0.0, "rude")
    assert (edit.kind, edit.text) == ("edit", "Hello to you.")
    assert item.answers[0].model == "lora"
