"""Opinions from files and into files, both ways; bad rows are told, good ones kept."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from luthier.errors import FeedbackError
from luthier.feedback.exchange import FORMATS, export_opinions, import_opinions
from luthier.feedback.exchange.judged import Origin
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import Opinion, make_item

ORIGIN = Origin("ada")


def fresh(tmp_path, name="a"):
    return FeedbackStore(tmp_path / f"{name}.sqlite")


def rows_file(tmp_path, *rows, name="rows.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), "utf-8")
    return path


TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
CHATML = [{"role": "assistant", "content": "Hi."}]
WORSE = [{"role": "assistant", "content": "Go."}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hello?", "chosen": "Hi.", "rejected": "Go."},
        {"prompt": TURNS, "chosen": CHATML, "rejected": [{"role": "assistant", "content": "Go."}]},
        {
            "chosen": [*TURNS, *CHATML],
            "rejected": [*TURNS, {"role": "assistant", "content": "Go."}],
        },
        {
            "conversations": [{"from": "human", "value": "Hello?"}],
            "chosen": {"from": "gpt", "value": "Hi."},
            "rejected": {"from": "gpt", "value": "Go."},
        },
        {"instruction": "Say", "input": "Hello?", "chosen": "Hi.", "rejected": "Go."},
    ],
)
def test_pairs_in_the_shapes_of_other_programs(tmp_path, row):
    with fresh(tmp_path) as store:
        report = import_opinions(store, rows_file(tmp_path, row), origin=ORIGIN)
        assert (report.format, report.new_opinions, report.bad) == ("preference", 1, ())
        (item,), (opinion,) = store.items(), store.opinions()
        assert item.question.endswith("Hello?")
        assert item.answer(opinion.answer).text == "Hi."
        assert item.answer(opinion.other).text == "Go."
        assert (opinion.who, opinion.grade) == ("ada", "better")


def test_thumbs_and_ratings(tmp_path):
    with fresh(tmp_path) as store:
        kto = rows_file(
            tmp_path,
            {"prompt": "Hello?", "completion": "Hi.", "label": True},
            {"messages": [*TURNS, *CHATML], "label": "false"},
        )
        assert import_opinions(store, kto, origin=ORIGIN).format == "kto"
        rated = rows_file(tmp_path, {"prompt": "Hello?", "answer": "Hi.", "rating": 4})
        assert import_opinions(store, rated, origin=ORIGIN).format == "ratings"
        kinds = [(o.kind, o.value) for o in store.opinions()]
    assert kinds == [("thumb", 1.0), ("thumb", 0.0), ("rating", 4.0)]


def test_bad_lines_are_told_and_good_ones_kept(tmp_path):
    good = {"prompt": "Hello?", "chosen": "Hi.", "rejected": "Go."}
    path = rows_file(
        tmp_path,
        json.dumps(good),
        "{not json",
        {**good, "rejected": "Hi."},
        "[1, 2]",
        "",
        {"prompt": "", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": "a"},
        {**good, "grade": "much"},
        {"prompt": "q", "chosen": ["x"], "rejected": "b"},
        {"prompt": "q", "completion": "a", "label": True},
        {"chosen": "a", "rejected": "b"},
        {"prompt": "\ud800", "chosen": "\ud800 a", "rejected": "b"},
    )
    with fresh(tmp_path) as store:
        report = import_opinions(store, path, origin=ORIGIN)
        assert len(store.opinions()) == report.new_opinions == 2
    reasons = {bad.place: bad.reason for bad in report.bad}
    assert sorted(reasons) == [2, 3, 4, 6, 7, 8, 9, 10, 11]
    for place, words in {
        2: "no JSON", 3: "the same text", 4: "a list", 6: "no prompt", 7: "'rejected' is missing",
        8: "the grade is 'much'", 9: "no object", 10: "'chosen' is missing", 11: "no prompt",
    }.items():  # fmt: skip
        assert words in reasons[place], (place, reasons[place])


def test_files_of_no_use_are_refused(tmp_path):
    with fresh(tmp_path) as store:
        for content, words in (
            ("", "known shape"), ('{"x": 1}', "known shape"), ("[{", "JSON array"),
            ('{"chosen": 1, "rejected": 2}', "no usable row"),
        ):  # fmt: skip
            with pytest.raises(FeedbackError, match=words):
                import_opinions(store, rows_file(tmp_path, content), origin=ORIGIN)
        with pytest.raises(FeedbackError, match="cannot be read"):
            import_opinions(store, tmp_path / "none.jsonl", origin=ORIGIN)
        with pytest.raises(FeedbackError, match="no format 'argila'"):
            import_opinions(store, rows_file(tmp_path, "{}"), origin=ORIGIN, format="argila")
        with pytest.raises(FeedbackError, match="holds nothing"):
            export_opinions(store, tmp_path / "out.jsonl", format="kto")


def test_one_class_and_all_ties_are_noted(tmp_path):
    thumbs = [{"prompt": f"q{i}", "completion": "a", "label": True} for i in range(3)]
    ties = [
        {"prompt": f"q{i}", "chosen": "a", "rejected": "b", "grade": "unsure"} for i in range(3)
    ]
    with fresh(tmp_path) as store:
        notes = import_opinions(store, rows_file(tmp_path, *thumbs), origin=ORIGIN).notes
        assert notes == ("All 3 thumbs are up: KTO learns from both kinds.",)
        notes = import_opinions(store, rows_file(tmp_path, *ties), origin=ORIGIN).notes
        assert notes == ("All 3 preferences are ties: they teach no order.",)


def filled(store):
    """Opinions of every kind on two pairs and one single answer."""
    pair = make_item("Hello?", ["Hi.", "Go."], context="A greeting.")
    other = make_item([("system", "Be brief."), ("user", "Bye?")], ["Bye.", "So long."])
    single = make_item("Why?", ["Because."])
    store.add_items([pair, other, single])
    a, b = (x.id for x in pair.answers)
    alone = single.answers[0].id
    said = [
        Opinion("1", pair.id, "preference", "ada", answer=b, other=a, grade="significantly"),
        Opinion("2", pair.id, "preference", "bo", grade="unsure"),
        Opinion(
            "3",
            pair.id,
            "preference",
            "rubric",
            source="judge",
            answer=a,
            other=b,
            grade="slightly",
        ),
        Opinion("4", single.id, "rating", "ada", answer=alone, value=4.0),
        Opinion("5", single.id, "thumb", "user", source="serving", answer=alone, value=0.0),
        Opinion("6", single.id, "edit", "bo", answer=alone, text="Because so."),
    ]
    assert [store.add_opinion(o) for o in said] == ["stored"] * 6


def content(store):
    items = {item.id: item for item in store.items()}
    return {
        (
            items[o.item].prompt, items[o.item].context, o.kind, o.who, o.grade, o.value,
            o.text if o.kind == "edit" else None,
            None if o.is_tie else getattr(items[o.item].answer(o.answer), "text", None),
        )
        for o in store.opinions()
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_is_exported_comes_back(tmp_path, name):
    with fresh(tmp_path) as store, fresh(tmp_path, "b") as again:
        filled(store)
        path = tmp_path / "out.json"
        rows = export_opinions(store, path, format=name)
        report = import_opinions(again, path, origin=ORIGIN, format=name)
        assert report.bad == ()
        assert report.rows == rows
        kept = content(again)
        assert kept <= content(store)
        kinds = {
            "preference": {"preference"}, "kto": {"thumb"}, "ratings": {"rating"},
            "argilla": {"preference", "thumb", "rating", "edit"},
            "label-studio": {"preference", "thumb", "rating", "edit"},
        }[name]  # fmt: skip
        ties = name in ("argilla", "label-studio")
        expected = {
            row for row in content(store) if row[2] in kinds and (ties or row[4] != "unsure")
        }
        assert kept == expected
        assert import_opinions(again, path, origin=ORIGIN, format=name).new_opinions == 0


def test_a_record_of_argilla_and_a_task_of_label_studio(tmp_path):
    argilla = [
        {
            "id": "r1", "fields": {"prompt": "Hello?", "response_a": "Hi.", "response_b": "Go."},
            "metadata": {}, "vectors": {}, "suggestions": {},
            "responses": {"preference": [{"value": "response_b", "user_id": "u1"}]},
        }
    ]  # fmt: skip
    studio = [
        {
            "id": 7, "data": {"prompt": "Bye?", "answer1": "Bye.", "answer2": "No."},
            "annotations": [
                {"completed_by": 3, "was_cancelled": False, "result": [
                    {"from_name": "pw", "to_name": "x", "type": "pairwise",
                     "value": {"selected": "right"}}]},
                {"completed_by": 4, "was_cancelled": True, "result": []},
            ],
        }
    ]  # fmt: skip
    for rows, who, better in ((argilla, "u1", "Go."), (studio, "3", "No.")):
        path = tmp_path / "x.json"
        path.write_text(json.dumps(rows), "utf-8")
        with fresh(tmp_path, who) as store:
            assert import_opinions(store, path, origin=ORIGIN).bad == ()
            (opinion,), (item,) = store.opinions(), store.items()
            assert (opinion.who, item.answer(opinion.answer).text) == (who, better)


@pytest.mark.skipif(not os.environ.get("LUTHIER_DATA"), reason="needs LUTHIER_DATA")
def test_three_hundred_real_pairs_and_thumbs(tmp_path):
    data = Path(os.environ["LUTHIER_DATA"]) / "llamafactory-demos" / "data"
    with fresh(tmp_path) as store:
        pairs = import_opinions(store, data / "dpo_en_demo.json", origin=ORIGIN)
        thumbs = import_opinions(store, data / "kto_en_demo.json", origin=ORIGIN)
        assert (pairs.rows, pairs.bad, pairs.place) == (300, (), "record")
        assert (pairs.new_opinions, pairs.known_opinions) == (295, 5)  # five stand there twice
        assert thumbs.format == "kto"
        assert thumbs.rows == thumbs.new_opinions + thumbs.known_opinions + len(thumbs.bad) == 300
