"""The studio's pages over a small run: what they show, what they keep, and what they refuse."""

from __future__ import annotations

import csv
import io
import json
import threading

import pytest

from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.lock import folder_lock
from luthier.ledger.run_ledger import LEDGER_FILE
from luthier.studio.example_table import ExampleFilter, as_csv, example_table
from luthier.studio.prompt_versions import PromptVersions
from luthier.studio.run_shelf import working_in
from tests.serving_run import client, make_run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "toys")


@pytest.fixture(scope="module")
def studio(run_folder):
    with client(run_folder, root=run_folder.parent) as opened:
        yield opened


def test_every_page_opens_and_loads_nothing_from_elsewhere(studio):
    for path in (
        "/", "/runs/toys", "/runs/toys/examples", "/runs/toys/prompts", "/runs/toys/report",
        "/runs/toys/feedback", "/static/frame.css",
        "/playground", "/knowledge", "/techniques", "/look.css", "/static/studio.js",
        "/static/studio.css", "/static/htmx.min.js",
    ):  # fmt: skip
        reply = studio.get(path)
        assert reply.status_code == 200, path
        if reply.headers["content-type"].startswith("text/html") and path != "/runs/toys/report":
            assert "script-src 'self'" in reply.headers["content-security-policy"]
            assert "http://" not in reply.text.replace("http://www.w3.org/2000/svg", "")
            assert "<script>" not in reply.text
            assert " style=" not in reply.text


def test_the_list_and_the_run_say_what_the_verdict_says(studio, run_folder):
    import luthier

    verdict = luthier.Comparison.load(run_folder).verdict
    assert "finished" in studio.get("/").text
    page = studio.get("/runs/toys").text
    assert verdict.because.split(".")[0] in page.replace("&#39;", "'")
    assert "<svg" in page


def test_a_request_by_htmx_gets_the_part_only(studio):
    part = studio.get("/runs/toys/examples", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert 'id="table"' in part


@pytest.mark.parametrize("show", ["disagree", "first", "second", "wrong", "right", "all"])
def test_a_filter_shows_what_it_says(run_folder, show):
    import luthier

    table = example_table(luthier.Comparison.load(run_folder), ExampleFilter(show=show))
    holds = {
        "disagree": lambda r: r.first.prediction != r.second.prediction,
        "first": lambda r: r.first.value > r.second.value,
        "second": lambda r: r.first.value < r.second.value,
        "wrong": lambda r: r.first.value == r.second.value == 0,
        "right": lambda r: r.first.value == r.second.value == 1,
        "all": lambda r: True,
    }[show]
    everything = example_table(luthier.Comparison.load(run_folder), ExampleFilter(show="all"))
    assert list(table.matching) == [row for row in everything.matching if holds(row)]
    assert everything.total == len(everything.matching) > 0


def test_words_and_labels_filter(run_folder):
    import luthier

    comparison = luthier.Comparison.load(run_folder)
    table = example_table(comparison, ExampleFilter(show="all"))
    label, word = table.labels[0], table.rows[0].first.input.split()[0]
    of_label = example_table(comparison, ExampleFilter(show="all", label=label)).matching
    assert of_label
    assert {row.first.target for row in of_label} == {label}
    with_word = example_table(comparison, ExampleFilter(show="all", words=word.upper())).matching
    assert table.rows[0] in with_word
    assert not example_table(comparison, ExampleFilter(show="all", words="qqqqq")).matching


def test_the_csv_holds_every_matching_example_and_no_formula(studio, run_folder):
    import luthier

    table = example_table(luthier.Comparison.load(run_folder), ExampleFilter(show="all"))
    reply = studio.get("/runs/toys/examples.csv?show=all")
    assert reply.headers["content-disposition"].startswith("attachment")
    rows = list(csv.reader(io.StringIO(reply.text)))
    assert len(rows) == table.total + 1
    from dataclasses import replace

    row = table.matching[0]
    nasty = replace(row, first=replace(row.first, input="=HYPERLINK(1)"))
    assert "'=HYPERLINK(1)" in as_csv(replace(table, matching=(nasty,)))


def test_each_example_has_an_address(studio, run_folder):
    import luthier

    row = example_table(luthier.Comparison.load(run_folder), ExampleFilter(show="all")).rows[0]
    page = studio.get(f"/runs/toys/examples/{row.id}").text
    assert "zero-shot" in page
    assert "few-shot" in page
    assert studio.get("/runs/toys/examples/no-such-one").status_code == 404


def test_a_browser_sees_a_page_where_there_is_none_and_a_program_an_error(studio):
    page = studio.get("/runs/nothing", headers={"Accept": "text/html,*/*"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "There is no run &#39;nothing&#39;." in page.text
    assert 'href="/"' in page.text
    for path in ("/runs/nothing", "/v1/nothing"):
        reply = studio.get(path, headers={"Accept": "*/*"})
        assert "error" in reply.json()
    asked = studio.get("/v1/models/nothing", headers={"Accept": "text/html"})
    assert asked.json()["error"]["code"] == "model_not_found"


def test_the_playground_streams_what_the_model_answers(studio, run_folder):
    import luthier

    asked = {"model": "toys/few-shot", "text": "refund please"}
    lines = [json.loads(line) for line in studio.post("/playground/ask", json=asked).iter_lines()]
    done = lines[-1]["done"]
    assert done["answer"] == luthier.load(run_folder / "few-shot").ask("refund please")
    assert done["tokens"][0] > 0
    prompt = studio.post("/playground/prompt", json=asked).json()["prompt"]
    assert "refund please" in prompt
    unknown = studio.post("/playground/ask", json={"model": "no", "text": "x"})
    assert unknown.status_code == 404


def test_thumbs_and_edits_land_in_the_run_s_feedback_once(studio, run_folder):
    said = {"model": "toys/few-shot", "text": "where is it", "answer": "delivery"}
    assert studio.post(
        "/playground/opinion", json={**said, "kind": "thumb", "value": 0}
    ).json() == {"kept": "stored"}
    again = studio.post("/playground/opinion", json={**said, "kind": "thumb", "value": 0})
    assert again.json() == {"kept": "already"}
    # Whoever changes their mind is believed: the last thumb is the one that stands.
    for value in (1, 0):
        other = studio.post("/playground/opinion", json={**said, "kind": "thumb", "value": value})
        assert other.json() == {"kept": "changed"}
    edit = {**said, "kind": "edit", "edited": "refunds"}
    assert studio.post("/playground/opinion", json=edit).json() == {"kept": "stored"}
    with FeedbackStore(run_folder / LEDGER_FILE) as store:
        kinds = {(o.kind, o.source, o.value, o.text) for o in store.opinions()}
    assert kinds == {("thumb", "serving", 0.0, None), ("edit", "serving", None, "refunds")}


def test_the_feedback_page_shows_what_the_playground_kept_and_leads_to_the_annotation_page(
    studio, run_folder
):
    said = {"model": "toys/few-shot", "text": "a lost box", "answer": "billing"}
    studio.post("/playground/opinion", json={**said, "kind": "edit", "edited": "delivery"})
    page = studio.get("/runs/toys/feedback").text
    assert "a lost box" in page
    assert "delivery" in page
    begin = studio.post(
        "/runs/toys/feedback/begin", data={"who": "ada", "kind": "thumb"}, follow_redirects=False
    )
    place = begin.headers["location"]
    assert place.startswith("/runs/toys/annotate/a/")
    reply = studio.get(place)
    assert "As ada" in reply.text
    assert 'aria-label="Studio"' in reply.text  # the studio's own bar stands above it
    assert "script-src 'sha256-" in reply.headers["content-security-policy"]
    item = studio.get(f"{place}/next").json()["item"]
    body = {"key": "k1", "item": item["id"], "kind": "thumb", "value": 1,
            "answer": item["answers"][0]["id"]}  # fmt: skip
    assert studio.post(f"{place}/opinions", json=body).json()["status"] == "stored"
    with FeedbackStore(run_folder / LEDGER_FILE) as store:
        assert [o.kind for o in store.opinions(who="ada")] == ["thumb"]
    assert studio.post(f"{place}/undo", json={"key": "no", "item": "x"}).json()["status"] == "gone"
    assert studio.get("/runs/toys/annotate/a/nobody").status_code == 403
    assert studio.get("/runs/nothing/annotate/a/nobody").status_code == 404
    elsewhere = {"Origin": "https://elsewhere.example"}
    assert studio.post(f"{place}/opinions", json=body, headers=elsewhere).status_code == 403
    nobody = studio.post("/runs/toys/feedback/begin", data={"who": " ", "kind": "thumb"})
    assert nobody.status_code == 400


def test_a_page_of_another_site_changes_nothing(studio, run_folder):
    said = {"model": "toys/few-shot", "text": "nobody asked this", "answer": "y",
            "kind": "thumb", "value": 1}  # fmt: skip
    for heads in ({"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        reply = studio.post("/playground/opinion", json=said, headers=heads)
        assert reply.status_code == 403
    with FeedbackStore(run_folder / LEDGER_FILE) as store:
        assert "nobody asked this" not in {item.question for item in store.items()}


def test_a_run_is_shown_as_going_on_while_a_process_holds_it(studio, run_folder):
    assert working_in(run_folder) is None
    assert studio.post("/runs/toys/stop").status_code == 409
    held, go = threading.Event(), threading.Event()

    def hold():
        with folder_lock(run_folder):
            held.set()
            go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    try:
        assert working_in(run_folder) is not None
        page = studio.get("/runs/toys").text
        assert 'hx-trigger="every 2s"' in page
        assert "fits are done" in page
    finally:
        go.set()
        thread.join()


def test_prompt_lab_says_why_a_task_cannot_be_found(studio):
    page = studio.get("/runs/toys/prompts").text
    assert "no bundled task" in page


def test_versions_survive_a_damaged_line(tmp_path):
    from luthier.models.prompt import Prompt

    versions = PromptVersions(tmp_path)
    versions.add("toys/few-shot", Prompt(instruction="one"), note="first", difference=None)
    with versions.path.open("a") as file:
        file.write('{"number": 2, "mod\n')
    second = versions.add("toys/few-shot", Prompt(instruction="two"), note="", difference=None)
    assert [v.prompt.instruction for v in versions.all()] == ["two", "one"]
    assert second.number == 2


def test_unknown_runs_and_paths_out_of_the_folder_are_not_found(studio):
    for name in ("nothing", "%2e%2e%2fetc", "..%2f..%2fetc", "%00"):
        assert studio.get(f"/runs/{name}").status_code in (404, 400)
