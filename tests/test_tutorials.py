"""The tutorials are executed from top to bottom, each in a folder of its own.

A block with a title is a file; `bash` is run line by line, `python` in one scope a tutorial.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "tutorials"
BLOCK = re.compile(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```$', re.M | re.S)
KINDS = {"bash", "csv", "markdown", "python", "toml", "yaml"}


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Kind, title and text of every code block."""
    return BLOCK.findall(page.read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_a_tutorial_runs(page, tmp_path, monkeypatch):
    site = tmp_path / "site"
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(site)
    scope: dict[str, object] = {"__name__": "tutorial"}
    for kind, title, text in blocks(page):
        assert kind in KINDS
        if title:
            path = tmp_path / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        elif kind == "python":
            exec(compile(text, page.name, "exec"), scope)
        elif kind == "bash":
            for line in text.splitlines():
                run(line, site)


def run(line: str, site: Path) -> None:
    """One command, with what `pip install` put into `site`."""
    program, *rest = shlex.split(line)
    if program == "pip":
        offline = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        command = ["-m", "pip", rest[0], "--quiet", "--target", str(site), *offline, *rest[1:]]
    else:
        command = ["-m", program, *rest]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path])}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=env)
    assert done.returncode == 0, (line, done.stderr[-2000:])


def test_every_tutorial_is_in_the_navigation():
    navigation = (FOLDER.parent.parent / "mkdocs.yml").read_text("utf-8")
    pages = re.findall(r"tutorials/\S+\.md", navigation)
    assert sorted(pages) == [f"tutorials/{page.name}" for page in sorted(FOLDER.glob("*.md"))]
