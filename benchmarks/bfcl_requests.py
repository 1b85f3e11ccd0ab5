"""The requests of BFCL: a question, the functions it is shown, and the calls that answer it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.content import ToolSignature
from luthier.tools.tool import usable_name

TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}


@dataclass(frozen=True)
class Request:
    """A request, its functions, and the possible answers by the name of the function."""

    question: str
    functions: tuple[ToolSignature, ...]
    possible: Mapping[str, Mapping[str, list[Any]]]


def requests(data: Path, category: str) -> list[Request]:
    """All requests of a category."""
    rows = _lines(data / f"BFCL_v4_{category}.json")
    answers = data / "possible_answer" / f"BFCL_v4_{category}.json"
    known = {row["id"]: row["ground_truth"] for row in _lines(answers)} if answers.is_file() else {}
    found = []
    for row in rows:
        functions = tuple(_signature(f) for f in row["function"])
        truth = known.get(row["id"]) or [{}]
        possible = {usable_name(name): values for name, values in truth[0].items()}
        found.append(Request(row["question"][0][-1]["content"], functions, possible))
    return found


def drawn(data: Path, category: str, count: int) -> list[Request]:
    """So many requests of a category, always the same."""
    every = requests(data, category)
    random.Random(0).shuffle(every)
    return every[:count]


def _signature(function: Mapping[str, Any]) -> ToolSignature:
    schema = {**_schema(function["parameters"]), "additionalProperties": False}
    return ToolSignature(usable_name(function["name"]), function["description"], schema)


def _schema(about: Any) -> Any:
    if isinstance(about, list):
        return [_schema(each) for each in about]
    if not isinstance(about, Mapping):
        return about
    dropped = ("default", "optional", "format")  # as keywords; an argument may have such a name
    found = {k: _schema(v) for k, v in about.items() if k not in dropped or isinstance(v, Mapping)}
    kind = found.get("type")
    if isinstance(kind, str) and kind in TYPES:
        found.pop("type") if TYPES[kind] is None else found.update(type=TYPES[kind])
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
