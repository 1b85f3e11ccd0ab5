"""The example plugin, installed with pip: what it brings is listed, run and scored like ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from luthier.compare.comparison import Comparison
from luthier.compare.options import Options
from luthier.compare.run_comparison import compare
from luthier.models.model import Model
from luthier.techniques.base import Technique
from luthier.techniques.prompt.few_shot import FewShot
from luthier.techniques.prompt.zero_shot import ZeroShot
from luthier.testing import FakeBackend
from tests.test_prompting import make_task

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "plugin"
LUTHIER = "import sys; from luthier.cli.main import run; sys.exit(run(sys.argv[1:]))"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python in which the plugin is installed; it is built from a copy."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLE, folder / "source")
    installed = folder / "installed"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    without_network = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*pip, *without_network, "--target", str(installed), str(folder / "source")],
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    paths = [str(installed), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def luthier(plugin: dict[str, str], *arguments: str, folder: Path) -> Any:
    """What the command prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", LUTHIER, *arguments, "--json"],
        env=plugin,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_its_technique_is_listed_and_run(plugin: dict[str, str], tmp_path: Path) -> None:
    cards = luthier(plugin, "techniques", folder=tmp_path)
    assert cards["label-words"]["settings"] == {"counts": [3, 6, 12]}
    assert len(cards) > 10
    found = luthier(
        plugin, "compare", "routing", "--techniques", "zero-shot,label-words",
        "--budget", "20ktok", "--limit", "24", "--out", "run", folder=tmp_path,
    )  # fmt: skip
    zero, words = found["rows"]
    assert (zero["technique"], words["technique"]) == ("zero-shot", "label-words")
    assert words["status"] == "finished"
    (run,) = Comparison.load(tmp_path / "run").result("label-words").runs
    assert run.fit.spent_tokens is not None
    assert 0 < run.fit.spent_tokens <= 20_000
    assert {"no words", "3 words"} <= {step.candidate for step in run.fit.history}


def test_its_backend_and_its_scorer_take_part(plugin: dict[str, str], tmp_path: Path) -> None:
    rules = EXAMPLE / "routing.yaml"
    found = luthier(
        plugin, "compare", "routing", "--techniques", "zero-shot", "--model", f"keywords:{rules}",
        "--budget", "20ktok", "--out", "rules", folder=tmp_path,
    )  # fmt: skip
    assert found["model"] == f"keywords:{rules}"
    assert found["rows"][0]["score"]["value"] > 0.3, "always the commonest gets 0.14"
    scored = luthier(plugin, "evaluate", "fake", str(EXAMPLE / "answers.yaml"), folder=tmp_path)
    assert scored["score"]["metric"] == "first-word"


def test_it_keeps_the_contracts(plugin: dict[str, str], tmp_path: Path) -> None:
    checked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir"]
    done = subprocess.run(
        [*checked, str(tmp_path), str(EXAMPLE / "tests")],
        env=plugin,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("...")


def test_a_few_shot_of_a_plugin_is_planned_as_ours(tmp_path: Path) -> None:
    class TheirFewShot(FewShot):
        name = "their-few-shot"

    def planned(technique: Technique) -> tuple[int | None, ...]:
        comparison = compare(
            make_task(), Model(FakeBackend()), techniques=[technique], budget="20ktok",
            out=tmp_path / technique.name, options=Options(plan_only=True),
        )  # fmt: skip
        (line,) = comparison.plan.techniques
        return line.estimate.tokens, line.estimate.peak_memory_bytes, line.budget_tokens

    theirs, ours = planned(TheirFewShot()), planned(FewShot())
    assert theirs == ours
    assert planned(ZeroShot())[0] < ours[0]
