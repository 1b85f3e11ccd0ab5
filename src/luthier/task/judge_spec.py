"""`judge(rubric.md)` and `judge(file.py:function)` in a task file: who judges, and by what.

A rubric is a text file. It may begin with lines between two `---` that name the judge and where
people's opinions are:

    ---
    model: http://localhost:8000/v1#judge
    people: feedback
    ---
    A good summary names every decision, and nothing that was not said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from luthier.errors import TaskError
from luthier.safety.plain_files import read_plain
from luthier.safety.plain_yaml import load_yaml
from luthier.serialization import digest

MOST_BYTES = 1_000_000  # of a rubric
_CALL = re.compile(r"judge\((?P<source>.+)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """`source` is the rubric or the function; of a rubric `text`, and `model` and `people` where
    the file names them."""

    source: str
    text: str = ""
    model: str | None = None
    people: str | None = None

    @property
    def scripted(self) -> bool:
        """Whether a Python function judges."""
        return ".py:" in self.source

    @property
    def identity(self) -> str:
        """A digest of everything that the judge's opinion depends on, but for what runs it."""
        return digest([self.source if self.scripted else "", self.text, self.model])[:8]


def judge_source(scorer: object) -> str | None:
    """What stands between the brackets of `judge(…)`; None for any other scorer."""
    found = _CALL.fullmatch(scorer.strip()) if isinstance(scorer, str) else None
    return found["source"].strip().strip("\"'") if found else None


def read_judge(source: str) -> JudgeSpec:
    """The rubric with its head, or the function. TaskError where it cannot be read."""
    if ".py:" in source:
        return JudgeSpec(source)
    path = Path(source).expanduser()
    try:
        text = read_plain(path, most=MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(
            f"the rubric {source} cannot be read ({error})",
            next_step="Write what makes an answer good into a text file, and name it: "
            "judge(rubric.md).",
        ) from error
    spec = JudgeSpec(source, text.strip())
    if text.startswith("---\n"):
        head, found, body = text[4:].partition("\n---")
        try:
            keys = load_yaml(head) if found else None
        except yaml.YAMLError:
            keys = None
        if not isinstance(keys, dict) or set(keys) - {"model", "people"}:
            raise TaskError(
                f"the head of the rubric {source} is not readable",
                choices=("model: NAME", "people: FOLDER"),
                next_step="Write these two keys between two lines of ---, or leave the head out.",
            )
        people = keys.get("people")
        spec = replace(
            spec,
            text=body.lstrip("-").strip(),
            model=str(keys["model"]) if keys.get("model") else None,
            people=str(path.parent / str(people)) if people else None,
        )
    if not spec.text:
        raise TaskError(
            f"the rubric {source} is empty", next_step="Write what makes an answer good."
        )
    return spec
