"""The studio finds the task of a run, and goes on with a comparison that stopped: with the command
that began it, for those who may, and without trusting what a ledger from elsewhere says."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from luthier.cli.main import run as luthier_command
from luthier.errors import ModelError, TaskError, UserError
from luthier.ledger.run_ledger import LEDGER_FILE, Launch, Ledger
from luthier.serving.guard.api_keys import ApiKeys, add_key
from luthier.serving.guard.audit_log import AuditLog
from luthier.serving.guard.gate import GateRules
from luthier.serving.served_models import ServedModels
from luthier.studio.continued_runs import LOG_FILE, ContinuedRuns
from luthier.studio.run_shelf import RunShelf
from luthier.studio.task_shelf import TaskShelf
from luthier.task.task import Task
from tests.serving_run import client

TASK = """\
name: toys
instruction: Route the message.
data: rows.jsonl
input: text
target: label
"""


@pytest.fixture
def task_file(tmp_path):
    """A task file whose rows are easy."""
    words = {"refunds": "money back please", "delivery": "where is my parcel"}
    rows = [
        {"text": f"{words[label]} {n}", "label": label}
        for n in range(40)
        for label in ("refunds", "delivery")
    ]
    path = tmp_path / "tasks" / "toys.yaml"
    path.parent.mkdir()
    (path.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path.write_text(TASK)
    return path


def planned(task_file, folder, *more):
    """A comparison that was planned from the command line and has not run."""
    command = [
        "compare", str(task_file), "--model", "fake", "--techniques", "zero-shot,few-shot",
        "--budget", "200ktok", "--seeds", "1", "--limit", "8", "--embedder", "none",
    ]  # fmt: skip
    assert luthier_command([*command, "--plan", "--out", str(folder), *more]) == 0
    return folder


def add_row(folder):
    rows = folder / "rows.jsonl"
    rows.write_text(rows.read_text() + '{"text": "one more", "label": "refunds"}\n')


def shelved(folder):
    return RunShelf(ServedModels(), folder.parent).get(folder.name)


def test_a_run_remembers_its_task_file_and_command(task_file, tmp_path):
    folder = planned(task_file, tmp_path / "runs" / "toys")
    launch = shelved(folder).launch
    assert launch.task_file == str(task_file.resolve())
    assert launch.working_folder == str(Path.cwd())
    # Where the results go and that it was a plan do not count; neither does what is a default.
    assert launch.arguments == (
        str(task_file), "--model", "fake", "--techniques", "zero-shot,few-shot", "--budget",
        "200ktok", "--seeds", "1", "--embedder", "none", "--limit", "8",
    )  # fmt: skip


def test_a_command_with_a_key_is_not_kept_and_an_older_one_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-very-secret-1")
    from luthier.ledger.run_ledger import StoredComparison

    with Ledger(tmp_path / LEDGER_FILE) as ledger:
        ledger.start_comparison(StoredComparison("c", "t", "t", None, "{}", "[]", "{}", "{}", "{}"))
        launch = Launch("c", "t", None, "/here", arguments=("x", "http://me:word@host/v1#m"))
        ledger.save_launch(launch)
        assert ledger.launch("c").arguments is None
        ledger.save_launch(replace(launch, arguments=("x", "sk-very-secret-1")))
        assert ledger.launch("c") == Launch("c", "t")
        ledger.save_launch(replace(launch, arguments=("x",)))
        ledger.save_launch(Launch("c", "later", "/task.yaml"))
        assert ledger.launch("c") == Launch("c", "later", "/task.yaml", "/here", arguments=("x",))
    assert b"very-secret" not in (tmp_path / LEDGER_FILE).read_bytes()


def test_the_task_is_found_where_the_run_remembers_it_or_where_it_is_named(task_file, tmp_path):
    run = shelved(planned(task_file, tmp_path / "runs" / "toys"))
    assert TaskShelf().of(run).is_locked
    moved = task_file.parent.rename(tmp_path / "elsewhere") / "toys.yaml"
    with pytest.raises(TaskError, match="its file is not where it was") as found:
        TaskShelf().of(run)
    assert "--task FILE" in str(found.value)
    named = TaskShelf([Task.load("routing"), Task.load(moved)])
    assert named.of(run).name == "toys"
    assert named.named_file(run) == str(moved.resolve())
    # Other data under the same name is another task.
    add_row(moved.parent)
    with pytest.raises(TaskError, match="has changed"):
        TaskShelf([Task.load(moved)]).of(run)


def test_a_task_that_changes_while_it_is_served_is_read_again(task_file, tmp_path):
    run, shelf = shelved(planned(task_file, tmp_path / "runs" / "toys")), TaskShelf()
    first = shelf.of(run)
    assert shelf.of(run) == first
    add_row(task_file.parent)
    with pytest.raises(TaskError, match="has changed"):
        shelf.of(run)


def test_what_a_ledger_from_elsewhere_says_is_not_obeyed(task_file, tmp_path, monkeypatch):
    folder, started = planned(task_file, tmp_path / "runs" / "toys"), []
    run = shelved(folder)
    monkeypatch.setattr(
        "luthier.studio.continued_runs.subprocess.Popen",
        lambda command, **_: started.append(command) or Mock(**{"poll.return_value": 0}),
    )
    evil = replace(run.launch, arguments=(*run.launch.arguments, "--proposer", "http://evil/v1#m"))
    with pytest.raises(ModelError, match="The command that the ledger keeps names the address"):
        ContinuedRuns().go_on(replace(run, launch=evil))
    inside = replace(run.launch, arguments=("x", "--techniques", "rag(index='qdrant+http://e/v')"))
    with pytest.raises(ModelError):
        ContinuedRuns().go_on(replace(run, launch=inside))
    assert started == []
    code = replace(run.launch, arguments=("evil.yaml", "--allow-code"))
    ContinuedRuns().go_on(replace(run, launch=code))
    assert started[-1][-3:] == ["evil.yaml", "--out", str(folder.resolve())]
    # With the file that the user of the studio named, and with that one alone, it is kept.
    ContinuedRuns().go_on(replace(run, launch=code), named_file=str(task_file))
    assert started[-1][-4:] == [str(task_file), "--allow-code", "--out", str(folder.resolve())]
    with pytest.raises(UserError, match="started from Python"):
        ContinuedRuns().go_on(replace(run, launch=None))
    with pytest.raises(UserError, match="is gone"):
        ContinuedRuns().go_on(replace(run, launch=replace(code, working_folder="/no/such")))


def test_only_an_admin_stops_and_goes_on_and_the_log_says_who(task_file, tmp_path):
    folder = planned(task_file, tmp_path / "runs" / "toys")
    keys, log = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    asks = {role: add_key(keys, f"the-{role}", role) for role in ("use", "annotate", "admin")}
    rules = GateRules(keys=ApiKeys(keys), audit=AuditLog(log))
    with client(root=folder.parent, rules=rules) as studio:

        def post(act, role, **more):
            headers = {"Authorization": f"Bearer {asks[role]}", **more}
            return studio.post(f"/runs/toys/{act}", headers=headers, follow_redirects=False)

        for act in ("stop", "go-on"):
            assert post(act, "use").status_code == 403
            assert post(act, "annotate").status_code == 403
            assert post(act, "admin", Origin="https://elsewhere").status_code == 403
        assert post("stop", "admin").status_code == 409  # nothing works in it
        page = studio.get("/runs/toys", headers={"Authorization": f"Bearer {asks['annotate']}"})
        assert "<button>Go on</button>" not in page.text
        assert f"luthier compare {task_file}" in page.text
        assert not (folder / LOG_FILE).exists()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    refused = [(line["who"], line["path"]) for line in lines if line["status"] == 403]
    assert ("the-annotate", "/runs/toys/go-on") in refused
    assert {line["who"] for line in lines if line["status"] == 409} == {"the-admin"}


@pytest.mark.slow
def test_a_planned_comparison_goes_on_to_its_end(task_file, tmp_path):
    folder = planned(task_file, tmp_path / "runs" / "toys")
    with client(root=folder.parent) as studio:
        page = studio.get("/runs/toys").text
        assert "2 of 2 fits did not run" in page
        assert "Go on" in page
        assert studio.post("/runs/toys/go-on", follow_redirects=False).status_code == 303
        assert studio.post("/runs/toys/go-on", follow_redirects=False).status_code == 409
        page = studio.get("/runs/toys").text
        assert 'hx-trigger="every 2s"' in page
        assert "It starts" in page or "fits are done" in page
        while 'hx-trigger="every 2s"' in (page := studio.get("/runs/toys").text):
            time.sleep(0.2)
    assert "did not run" not in page
    assert Path(folder / "report.html").is_file()


@pytest.mark.slow
def test_why_it_did_not_go_on_is_shown(task_file, tmp_path):
    folder = planned(task_file, tmp_path / "runs" / "toys")
    task_file.unlink()
    with client(root=folder.parent) as studio:
        assert studio.post("/runs/toys/go-on", follow_redirects=False).status_code == 303
        while 'hx-trigger="every 2s"' in (page := studio.get("/runs/toys").text):
            time.sleep(0.2)
    assert "there is no task" in page
