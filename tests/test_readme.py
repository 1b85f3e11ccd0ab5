"""Every code block of the README is executed."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import luthier

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
KINDS = {"bash", "yaml", "python", "text"}


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder as the reader has it: the task file of the README and the data it names."""
    folder = tmp_path_factory.mktemp("desk")
    text = blocks("yaml")[0]
    (folder / "tickets.yaml").write_text(text, "utf-8")
    spec = yaml.safe_load(text)
    (folder / "docs").mkdir()
    handbook = "# Returns\n\nThe refund window is thirty days from the day of delivery.\n"
    (folder / "docs/returns.md").write_text(handbook, "utf-8")
    task = luthier.Task.load("routing")
    with (folder / spec["data"]).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([spec["input"], spec["target"], spec["group"]])
        for example in (*task.train, *task.dev, *task.test):
            if example.target in ("billing", "delivery", "account-access"):
                writer.writerow([example.input, example.target, example.group])
    return folder


def test_there_is_a_test_for_every_kind_of_block():
    assert {kind for kind, _ in BLOCKS} == KINDS


def test_the_table_of_a_task_file_has_every_key_kind_and_scorer():
    from luthier import registry
    from luthier.task.read_spec import DEFAULT_SCORERS, KEYS, KINDS

    text = (ROOT / "README.md").read_text("utf-8")
    table = text.partition("| keys of a task file |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    assert sorted(re.findall(r"`(\w+)`", "".join(keys for keys, _ in rows))) == sorted(KEYS)
    told = {key: words for keys, words in rows for key in re.findall(r"`(\w+)`", keys)}
    assert set(re.findall(r"`([\w-]+)`", told["kind"])) == set(KINDS)
    scorers = set(re.findall(r"`([\w-]+)`", told["scorer"])) - set(KINDS)
    assert scorers == set(registry.EXTENSION_POINTS["scorers"].built_in)
    for kind, scorer in DEFAULT_SCORERS.items():
        assert re.search(rf"`{scorer}` \([^)]*`{kind}`\)", told["scorer"])


def test_commands_that_are_not_run_have_the_options_they_show():
    from typer.main import get_command

    from luthier.cli.main import app

    lines = [x for text in blocks("text") for x in text.splitlines() if x.startswith("luthier ")]
    assert lines
    for line in lines:
        _, name, *words = shlex.split(line)
        known = {option for p in get_command(app).commands[name].params for option in p.opts}
        assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.slow
def test_commands(desk):
    for line in (line for text in blocks("bash") for line in text.splitlines()):
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True)
        else:
            command = Path(sys.executable).with_name(words[0])
            done = subprocess.run(
                [str(command), *words[1:]], cwd=desk, capture_output=True, timeout=900
            )
        assert done.returncode == 0, (line, done.stderr.decode()[-2000:])
    assert (desk / "runs/tickets/report.html").is_file()


@pytest.mark.slow
def test_python(desk, monkeypatch):
    monkeypatch.chdir(desk)
    scope: dict[str, object] = {}
    for text in blocks("python"):
        exec(compile(text, "README.md", "exec"), scope)
    assert scope["both"].adaptation.soft_prompt is not None
    assert scope["again"].adaptation.adapter is not None


def tree_block() -> str:
    return next(text for text in blocks("text") if text.startswith("src/luthier/"))


def tree_names() -> list[str]:
    """What the README's tree says is in the package, from top to bottom."""
    return re.findall(r"[├└]── (\S+)", tree_block())


def test_the_tree_is_the_tree_on_disk():
    tree = tree_block()
    package = ROOT / "src/luthier"
    on_disk = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    on_disk |= {path.name for path in package.glob("*.py")} - {"__init__.py"}
    named = tree_names()
    assert len(set(named)) == len(named)
    assert set(named) == on_disk
    for name in re.findall(r"^(\w+/)", tree, re.M):
        assert (ROOT / name).is_dir(), name


def test_the_tree_has_the_order_of_the_import_contract():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = [room.strip() for layer in layers for room in layer.split("|")]
    named = [name.removesuffix(".py").removesuffix("/") for name in tree_names()]
    assert named == [*rooms, "__main__"]
