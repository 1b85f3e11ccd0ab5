"""What the documentation promises about the source, held against the source."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

import luthier

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "luthier"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST_FILE = 400
DOCS = ROOT / "docs"


def trees():
    return [(path, ast.parse(path.read_text("utf-8"))) for path in FILES]


def test_no_class_name_stands_for_two_things():
    places = defaultdict(set)
    for path, tree in trees():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].add(str(path.relative_to(SOURCE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_module_name_stands_for_two_things():
    places = defaultdict(set)
    for path in FILES:
        if path.stem not in ("__init__", "__main__"):
            places[path.stem].add(str(path.relative_to(SOURCE)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_file_is_too_long():
    lines = {str(p.relative_to(SOURCE)): len(p.read_text("utf-8").splitlines()) for p in FILES}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}
    assert sorted(lines.values())[len(lines) // 2] <= 130


def environment_reads(tree: ast.Module) -> set[str]:
    """The names that a module reads from the environment, written there or in a constant."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv"):
            argument = node.args[0]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            argument = node.slice
        else:
            continue
        if isinstance(argument, ast.Constant):
            names.add(argument.value)
        elif ast.unparse(argument) in constants:
            names.add(constants[ast.unparse(argument)])
    return names


def test_the_page_of_environment_variables_names_what_the_source_reads():
    page = (DOCS / "reference/environment.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    read = set().union(*(environment_reads(tree) for _, tree in trees()))
    named = set()
    for path in FILES:
        named |= set(re.findall(r"LUTHIER_[A-Z]+(?:_[A-Z]+)*", path.read_text("utf-8")))
    assert listed == read | named


def test_every_public_name_is_in_the_reference():
    pages = "".join(path.read_text("utf-8") for path in sorted((DOCS / "reference").glob("*.md")))
    documented = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)", pages, re.M)}
    errors = set(re.findall(r"^class (\w+)", (SOURCE / "errors.py").read_text("utf-8"), re.M))
    assert "::: luthier.errors\n" in pages
    assert set(luthier.__all__) - {"__version__"} - errors <= documented


def test_the_page_of_models_and_servers_names_tests_that_exist():
    page = (DOCS / "guides/servers.md").read_text("utf-8")
    sources = "".join(
        path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))
    )
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 30
    assert named - set(re.findall(r"^def (test_\w+)", sources, re.M)) == set()


def test_the_hooks_of_pre_commit_need_no_network():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [entry["repo"] for entry in hooks["repos"]] == ["local"]
    programs = {hook["entry"].split()[0] for hook in hooks["repos"][0]["hooks"]}
    lint = (ROOT / "Makefile").read_text("utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    assert {Path(program).name for program in programs} == set(re.findall(r"\(BIN\)/(\S+)", lint))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strict."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_the_site_asks_nothing_of_other_servers(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    fetched = re.compile(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="?(?:https?:)?//', re.I)
    for page in pages:
        assert fetched.findall(page.read_text("utf-8")) == [], page
    for sheet in site.rglob("*.css"):
        assert (
            re.findall(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//", sheet.read_text("utf-8")) == []
        )


@pytest.mark.slow
def test_the_site_has_every_command_and_every_decision(site):
    from typer.main import get_command

    from luthier.cli.main import app

    commands = (site / "reference/commands.html").read_text("utf-8")
    for name, command in get_command(app).commands.items():
        assert f'id="luthier-{name}"' in commands
        for parameter in command.params:
            assert f"<code>{parameter.opts[0]}</code>" in commands
    for decision in (DOCS / "decisions").glob("*.md"):
        assert (site / "decisions" / f"{decision.stem}.html").is_file()
