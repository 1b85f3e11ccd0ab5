"""Code runs only when it is asked for."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

import luthier
from luthier.cli.main import run
from luthier.errors import ModelError, TaskError
from luthier.models.load import load
from luthier.scoring import resolve_scorer
from luthier.task.reading.documents import document_sources

SOURCE = Path(luthier.__file__).parent
CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
def rows():
    for i in range(40):
        yield {"q": f"question {i} about {i % 9}", "a": str(i % 3)}
def texts():
    yield {"name": "a", "text": "Quist is the mayor."}
def same(prediction, target):
    return prediction == target
"""
NAMED = {
    "data": "data: code.py:rows",
    "split": "split: {train: code.py:rows, test: rows.csv}",
    "scorer": "data: rows.csv\nscorer: code.py:same",
    "judge": "data: rows.csv\nscorer: judge(code.py:same)",
    "knowledge": "data: rows.csv\nknowledge: code.py:texts",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"question {i} about {i % 9},{i % 3}" for i in range(60))
    (tmp_path / "rows.csv").write_text("q,a\n" + rows)
    (tmp_path / "code.py").write_text(CODE)
    return tmp_path


def task_naming(folder, what):
    path = folder / "t.yaml"
    path.write_text(
        f"instruction: Answer.\ninput: q\ntarget: a\nkind: question-answering\nleaks: keep\n"
        f"{NAMED[what]}\n"
    )
    return path


@pytest.mark.parametrize("what", sorted(NAMED))
@pytest.mark.parametrize(
    "command",
    [
        ["compare", "t.yaml", "--model", "fake", "--plan"],
        ["compare", "t.yaml", "--model", "fake", "--techniques", "zero-shot"],
        ["evaluate", "fake", "t.yaml"],
    ],
    ids=["plan", "compare", "evaluate"],
)
def test_no_command_runs_what_a_task_file_names(folder, what, command, capsys):
    task_naming(folder, what)
    assert run(command) == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "code.py:" in shown
    assert "--allow-code" in shown
    assert not (folder / "ran").exists()
    with pytest.raises(TaskError, match="allow_code=True"):
        luthier.Task.load(folder / "t.yaml")
    with pytest.raises(TaskError, match="allow_code=True"):
        luthier.compare(folder / "t.yaml", "fake")
    assert not (folder / "ran").exists()


def test_it_runs_when_it_is_asked_for(folder, monkeypatch):
    task = task_naming(folder, "data")
    assert run(["compare", "t.yaml", "--model", "fake", "--plan", "--allow-code"]) == 0
    (folder / "ran").unlink()
    assert luthier.Task.load(task, allow_code=True).test
    (folder / "ran").unlink()
    monkeypatch.setenv("LUTHIER_ALLOW_CODE", "1")
    assert luthier.Task.load(task).test
    assert (folder / "ran").exists()
    monkeypatch.setenv("LUTHIER_ALLOW_CODE", "0")
    with pytest.raises(TaskError):
        luthier.Task.load(task)


@pytest.mark.parametrize("where", ["import", "rows", "texts", "scorer"])
def test_an_exit_in_it_is_an_error_like_any_other(folder, where):
    leave = "raise SystemExit(0)"
    (folder / "code.py").write_text(
        leave if where == "import" else
        f"import sys\ndef rows():\n    yield {{'q': 'a', 'a': 'b'}}\n    sys.exit(3)\n"
        f"def texts():\n    sys.exit()\ndef same(prediction, target):\n    {leave}\n"
    )  # fmt: skip
    calls = {
        "texts": lambda: document_sources([f"{folder}/code.py:texts"]),
        "scorer": lambda: resolve_scorer(f"{folder}/code.py:same").score("a", "b"),
    }
    load_task = lambda: luthier.Task.load(task_naming(folder, "data"), allow_code=True)  # noqa: E731
    with pytest.raises(TaskError, match="SystemExit"):
        calls.get(where, load_task)()


def test_a_model_with_code_of_its_own_is_refused_without_a_question(tmp_path, monkeypatch):
    """A checkpoint with `auto_map`: Transformers would ask at the terminal whether to run it."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked at the terminal"))
    marker = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
        "from transformers import PretrainedConfig, PreTrainedModel\n"
        "class EvilConfig(PretrainedConfig):\n    model_type = 'evil'\n"
        "class EvilModel(PreTrainedModel):\n    config_class = EvilConfig\n"
    )
    (folder / "config.json").write_text(json.dumps({
        "model_type": "evil", "architectures": ["EvilModel"],
        "auto_map": {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"},
    }))  # fmt: skip
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        load(folder)
    assert not marker.exists()


OPENS = {"from_pretrained", "SentenceTransformer", "CrossEncoder"}


def test_every_call_that_could_run_remote_code_says_no():
    """Whoever adds such a call finds out here."""
    careless = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            if name not in OPENS or "PeftModel" in ast.unparse(node.func):
                continue  # PEFT runs no code of a folder
            said = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if said.get("trust_remote_code") != "False":
                careless.append(f"{path.relative_to(SOURCE)}:{node.lineno} {ast.unparse(node)}")
    assert careless == []


def test_nothing_unpickles():
    forbidden = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = set()
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").partition(".")[0]}
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "eval",
                                                                           "exec"):  # fmt: skip
                names = {"pickle"}
            if names & forbidden:
                found.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert found == []
