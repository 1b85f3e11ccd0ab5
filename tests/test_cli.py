"""The commands: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import luthier
from luthier.cli.main import run
from luthier.errors import LuthierError
from luthier.models.adaptation import Decoding
from tests.compare_stubs import toy_rows

TOKENS = ["--budget", "2Mtok"]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LUTHIER_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    rows = toy_rows()
    with (tmp_path / "toy.csv").open("w", encoding="utf-8", newline="") as file:
        proposer = csv.DictWriter(file, ["message", "queue"])
        proposer.writeheader()
        proposer.writerows(rows)
    (tmp_path / "toy.yaml").write_text(
        "name: toy\ninstruction: Which queue?\ndata: toy.csv\ninput: message\ntarget: queue\n"
        "kind: classify\n",
        "utf-8",
    )
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    luthier.load("fake").save(tmp_path / "saved")
    luthier.load("fake").save(tmp_path / "moved")
    labelled = luthier.load("fake").adapt(decoding=Decoding(labels=("yes", "no")))
    labelled.save(tmp_path / "other")
    record = tmp_path / "moved" / "luthier.yaml"
    record.write_text(record.read_text("utf-8").replace("base: fake", "base: /gone"), "utf-8")


def compare(*more: str) -> int:
    return run(["compare", "toy.yaml", "--model", "fake", *TOKENS, *more])


def test_compare_prints_one_json_object_and_talks_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare("--techniques", "zero-shot,lora", "--json", "--out", "out") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert [r["status"] for r in found["rows"]] == ["finished", "skipped"]
    assert found["verdict"]["best"] == "zero-shot"
    assert "Plan" in captured.err
    assert "skipped: lora needs gradients" in " ".join(captured.err.split())
    assert Path("out/report.html").read_text("utf-8").startswith("<!")
    assert Path("out/comparison.json").is_file()


def test_compare_prints_a_table_and_the_same_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--techniques", "zero-shot") == 0
    first = capsys.readouterr()
    assert "zero-shot" in first.out
    assert "zero-shot, seed 0: accuracy" in first.err
    assert compare("--techniques", "zero-shot") == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert "(done before)" in second.err


def test_ask_evaluate_and_report_take_a_run_folder(capsys: pytest.CaptureFixture[str]) -> None:
    few = "few-shot(shots=6, selection=random, sets=1, orders=0)"
    fits = ("--seeds", "1", "--out", "out", "--json")
    assert compare("--techniques", f"zero-shot, {few}", *fits) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert run(["ask", rows[1]["path"], "my parcel is with the courier"]) == 0
    answer = capsys.readouterr().out
    assert answer == "delivery\n"
    assert run(["ask", "out", "the invoice has a charge"]) == 0
    assert capsys.readouterr().out.strip() in {"billing", "delivery", "account"}
    assert run(["evaluate", rows[1]["path"], "toy.yaml", "--json"]) == 0
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated["score"]["value"] == rows[1]["score"]["value"]
    assert run(["evaluate", "fake", "toy.yaml", "--limit", "5"]) == 0
    assert "accuracy" in capsys.readouterr().out
    assert run(["report", "out", "--out", "page.html"]) == 0
    assert capsys.readouterr().out == "page.html\n"
    assert Path("page.html").is_file()


def test_ask_reads_stdin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("echo these words"))
    assert run(["ask", "fake", "-"]) == 0
    assert capsys.readouterr().out == "echo these words\n"


def test_cards_and_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["techniques"]) == 0
    cards = capsys.readouterr().out
    for name in ("zero-shot", "few-shot", "prompt-search", "soft-prompt", "prefix", "lora", "full"):
        assert name in cards
    assert run(["techniques", "lora", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)["lora"]
    assert card["family"] == "adapter"
    assert "rank" in card["settings"]
    assert run(["tasks", "--json"]) == 0
    assert "routing" in json.loads(capsys.readouterr().out)
    assert run(["tasks"]) == 0
    assert "routing" in capsys.readouterr().out


def test_versions_agree(capsys: pytest.CaptureFixture[str]) -> None:
    for typed in (["version"], ["--version"]):
        assert run(typed) == 0
        assert capsys.readouterr().out.strip() == luthier.__version__


def test_plan_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--techniques", "zero-shot,few-shot", "--plan", "--json") == 0
    captured = capsys.readouterr()
    plan = json.loads(captured.out)
    assert 0.0 < plan["power"]["pair"] < 1.0
    said = f"{100 * plan['power']['pair']:.1f} points between two techniques"
    assert said in " ".join(captured.err.split())
    assert "3 points take 3,500" in " ".join(captured.err.split())
    assert [t["name"] for t in plan["techniques"]] == ["zero-shot", "few-shot"]
    assert plan["techniques"][0]["estimate"]["seconds"] > 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["compare", "missing.yaml"], "missing.yaml"),
        (["compare", "toy.yaml", "--model", "nowhere"], "nowhere"),
        (["compare", "toy.yaml", "--techniques", "lorra"], "lora"),
        (["compare", "toy.yaml", "--techniques", "lora(rnak=3)"], "rnak"),
        (["compare", "toy.yaml", "--budget", "soon"], "soon"),
        (["compare", "toy.yaml", "--budget", "0s"], "too small for anything"),
        (["compare", "toy.yaml", "--model", "fake", "--budget", "10tok"], "too small"),
        (["compare", "toy.yaml", "--seeds", "0"], "seeds=0"),
        (["compare", "toy.yaml", "--limit", "0"], "limit=0"),
        (["compare", "toy.yaml", "--seeds", "many"], "many"),
        (["compare", "toy.yaml", "--prices", "none.yaml"], "none.yaml"),
        (["compare", "toy.yaml", "--proposer", "x", "--techniques", "lora"], "prompt-search"),
        (["compare", "toy.yaml", "--modle", "x"], "--modle"),
        (["compare"], "task"),
        (["comapre"], "comapre"),
        (["techniques", "lorra"], "lora"),
        (["evaluate", "fake", "toy.yaml", "--split", "tset"], "tset"),
        (["evaluate", "fake", "nowhere"], "nowhere"),
        (["compare", "toy.yaml", "--techniques", "lora(rank=four)"], "rank=8"),
        (["compare", "toy.yaml", "--model", "nowhere", "--out", "toy.csv"], "is a file"),
        (["compare", "toy.yaml", "--model", "nowhere", "--out", "toy.csv/run"], "is a file"),
        (["compare", "toy.yaml", "--model", "nowhere", "--out", "saved"], "folder of a model"),
        (["compare", "toy.yaml", "--model", "toy.csv"], "is a file"),
        (["compare", "toy.yaml", "--model", "small.gguf"], "llama-server"),
        (["ask", "moved", "hello"], "--base"),
        (["ask", "fake", " "], "nothing"),
        (["search", "saved", ""], "the query is empty"),
        (["evaluate", "nowhere", "toy.yaml", "--split", "tset"], "tset"),
        (["evaluate", "other", "toy.yaml"], "other labels"),
        (["index", "toy.yaml", "--into", "toy.csv"], "is a file"),
    ],
)
def test_what_the_user_can_mend_is_code_2_with_the_value(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(typed) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert "error: " in captured.err
    assert "next: " in captured.err or "choices: " in captured.err
    assert "Traceback" not in captured.err
    assert not Path("runs").exists() or not list(Path("runs").glob("*/ledger.sqlite-wal"))


def test_a_run_folder_is_for_one_task_and_one_base(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert compare("--techniques", "zero-shot", "--out", "out") == 0
    said = Path("toy.yaml").read_text("utf-8")
    Path("other.yaml").write_text(said.replace("name: toy", "name: other"), "utf-8")
    typed = ["compare", "other.yaml", "--model", "nowhere", *TOKENS, "--out", "out"]
    assert run([*typed, "--techniques", "zero-shot"]) == 2  # before the model is looked for
    assert "holds a comparison of toy on fake" in capsys.readouterr().err
    # Other techniques of the same question are welcome.
    assert compare("--techniques", "zero-shot,few-shot", "--out", "out") == 0


def test_what_was_found_in_the_data_is_said_before_and_after(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = Path("toy.csv").read_text("utf-8").splitlines()
    Path("toy.csv").write_text("\n".join([*lines, lines[1], lines[2]]) + "\n", "utf-8")
    assert compare("--techniques", "zero-shot", "--out", "out") == 0
    captured = capsys.readouterr()
    assert "note: " in captured.err.partition("Plan")[0]
    assert "About the data" in captured.out
    assert "left out" in captured.out.partition("About the data")[2]


def test_the_pick_comes_with_what_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--techniques", "zero-shot,few-shot", "--out", "out") == 0
    out = capsys.readouterr().out
    pick = json.loads(Path("out/comparison.json").read_text("utf-8"))["verdict"]["pick"]
    assert f'luthier ask out/{pick} "…"' in out
    page = Path("out/report.html").read_text("utf-8")
    assert f"luthier ask out/{pick}" in page
    assert f"luthier.load(&#39;out/{pick}&#39;)" in page


def test_a_run_without_a_pick_names_its_models(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path("toy.csv").read_text("utf-8").splitlines()
    shuffled = random.Random(0).sample(
        [line.rsplit(",", 1)[1] for line in lines[1:]], len(lines) - 1
    )
    rows = [
        f"{line.rsplit(',', 1)[0]},{label}" for line, label in zip(lines[1:], shuffled, strict=True)
    ]
    Path("toy.csv").write_text("\n".join([lines[0], *rows]) + "\n", "utf-8")
    assert compare("--techniques", "zero-shot", "--out", "out") == 0
    assert "Use none of these yet." in capsys.readouterr().out
    assert run(["ask", "out", "hello"]) == 2
    said = capsys.readouterr().err
    assert "choices: out/zero-shot" in said
    assert "to its end" not in said


def test_help_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "[default: three passes" in said
    assert "[default: in runs/]" in said
    assert "[default: zero-shot, few-shot, prompt-search, soft-prompt, prefix" in said


def test_a_run_folder_without_a_ledger_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "nowhere"]) == 2
    assert "holds no ledger" in capsys.readouterr().err


def test_nothing_finished_is_code_1_and_still_one_json_object(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare("--techniques", "lora,full", "--json") == 1
    assert json.loads(capsys.readouterr().out)["verdict"]["pick"] is None


def test_the_unexpected_is_one_line_and_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("what nobody\nthought of")

    monkeypatch.setattr("luthier.compare.run_comparison.compare", broken)
    assert compare("--techniques", "zero-shot") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert "ZeroDivisionError: what nobody)" in captured.err
    logs = list((tmp_path / "cache" / "logs").iterdir())
    assert len(logs) == 1
    assert "Traceback" in logs[0].read_text("utf-8")
    assert logs[0].name in captured.err
    monkeypatch.setenv("LUTHIER_DEBUG", "1")
    assert compare("--techniques", "zero-shot") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_code_1_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "runs/x")

    monkeypatch.setattr("luthier.compare.run_comparison.compare", full)
    assert compare("--techniques", "zero-shot") == 1
    captured = capsys.readouterr()
    assert "runs/x is full" in captured.err
    assert "Traceback" not in captured.err


def test_ctrl_c_is_code_130_with_the_command_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("luthier.compare.running.perform_run.score_run", pressed)
        assert compare("--techniques", "zero-shot") == 130
    captured = capsys.readouterr()
    assert "0 of 1 runs are finished" in captured.err
    assert "luthier compare toy.yaml --model fake" in captured.err
    monkeypatch.setattr("luthier.task.task.Task.load", pressed)
    assert compare("--techniques", "zero-shot") == 130
    assert "luthier compare toy.yaml" in capsys.readouterr().err


def test_errors_are_shown_in_their_three_parts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise LuthierError("the [value]", choices=["a", "b"], next_step="Do [this].")

    monkeypatch.setattr("luthier.compare.run_comparison.compare", wrong)
    assert compare("--techniques", "zero-shot") == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: the [value]",
        "  choices: a, b",
        "  next: Do [this].",
    ]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from luthier.cli.main import run\n"
        "code = run(['--help'])\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'numpy'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr); sys.exit(code or bool(heavy))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "compare" in told.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_with_130_and_no_traceback(number: signal.Signals) -> None:
    typed = ["compare", "toy.yaml", "--model", "fake", "--budget", "1h", "--techniques"]
    slow = "few-shot(sets=200, orders=200)"
    process = subprocess.Popen(
        [sys.executable, "-m", "luthier.cli.main", *typed, slow],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite run in the background inherits an ignored SIGINT and would pass it on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    said = ""
    while "results:" not in said:  # the plan is out: the fit is next
        line = process.stderr.readline()
        assert line, said
        said += line
    time.sleep(random.uniform(0, 1.5))  # in the middle of an import as well as of a fit
    process.send_signal(number)
    out, rest = process.communicate(timeout=180)
    assert process.returncode == 130, said + rest
    assert out == ""
    assert "same command again" in rest
    assert "Traceback" not in said + rest


def test_a_task_of_pictures_takes_the_base_that_draws():
    from luthier.cli.shared_options import usual_base
    from luthier.records import Kind

    assert {kind: usual_base(kind) for kind in Kind if usual_base(kind) != "nano"} == {
        Kind.IMAGE: "mini-scene"
    }
