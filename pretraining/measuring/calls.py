"""BFCL's simple Python calls: arguments copied into a JSON call, under constrained decoding.

The grammar fixes everything but the values: the function's name, its required parameters in
order, the JSON around them. A value is the likeliest among what the parameter's type allows and the
request offers (numbers, lists of numbers, runs of words, the listed choices), scored with what
closes it; a place that one value was copied from is not offered again. A call matches when every
value is among the possible answers and what was left out may be left out (the leaderboard's AST
match: text without case, spaces and punctuation).
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?")
MOST_WORDS = 5


def rows(data: Path) -> list[tuple[str, dict[str, Any], dict[str, list[Any]]]]:
    """(request, function, parameter → possible answers)."""
    folder = data / "data/bfcl"
    asked = (folder / "BFCL_v4_simple_python.json").read_text(encoding="utf-8").splitlines()
    known = folder / "possible_answer/BFCL_v4_simple_python.json"
    answers = {
        row["id"]: next(iter(row["ground_truth"][0].values()))
        for row in map(json.loads, known.read_text(encoding="utf-8").splitlines())
    }
    return [
        (row["question"][0][-1]["content"], row["function"][0], answers[row["id"]])
        for row in map(json.loads, asked)
    ]


def prompt(request: str, function: dict[str, Any]) -> str:
    """The function, a line a parameter, and the request, as a chat."""
    required = function["parameters"].get("required", [])
    lines = [f"{function['name']}: {function['description']}"]
    for name, about in function["parameters"]["properties"].items():
        spare = "" if name in required else ", optional"
        lines.append(f"- {name} ({about['type']}{spare}): {about.get('description', '')}")
    listing = "\n".join(lines)
    return f"<|system|>\nTools:\n{listing}<|end|>\n<|user|>\n{request}<|end|>\n<|assistant|>\n"


def candidates(request: str, about: dict[str, Any]) -> list[str]:
    """JSON texts that the value may be."""
    kind = about["type"]
    numbers = list(dict.fromkeys(str(_number(m.group())) for m in NUMBER.finditer(request)))
    if "enum" in about:
        return [json.dumps(v) for v in about["enum"]]
    if kind == "boolean":
        return ["true", "false"]
    if kind in ("integer", "float"):
        return numbers or ["1"]
    if kind in ("array", "tuple"):
        found = [
            m.group() for m in re.finditer(r"-?\d[\d.]*(?:(?:,| and|, and) -?\d[\d.]*)+", request)
        ]
        lists = [[_number(n) for n in NUMBER.findall(f)] for f in found]
        lists += [[_number(n) for n in numbers]] if numbers else []
        words = (
            [[w] for w in _runs(request)]
            if (about.get("items") or {}).get("type") == "string"
            else []
        )
        return list(dict.fromkeys(json.dumps(x) for x in [*lists, *words])) or ["[]"]
    if kind in ("dict", "any"):
        return ["{}"]
    return [json.dumps(w) for w in _runs(request)]


def _number(text: str) -> float | int:
    value = float(text.replace(",", ""))
    return int(value) if value == int(value) and "." not in text else value


def _runs(request: str) -> list[str]:
    """Runs of up to five words, without the punctuation at their ends."""
    words = request.split()
    out = []
    for i in range(len(words)):
        for n in range(1, MOST_WORDS + 1):
            if i + n <= len(words):
                run = " ".join(words[i : i + n]).strip("\"'“”‘’()[]{},;:?!").rstrip(".")
                out.append(run.removesuffix("'s").removesuffix("’s"))
    return list(dict.fromkeys(r for r in out if r))


def call(scorer: Any, request: str, function: dict[str, Any]) -> dict[str, Any]:
    """The constrained call's arguments."""
    properties = function["parameters"]["properties"]
    names = [n for n in properties if n in function["parameters"].get("required", [])]
    text = prompt(request, function) + f'{{"name": "{function["name"]}", "arguments": {{'
    out: dict[str, Any] = {}
    free = request  # no two parameters copy the same place
    for i, name in enumerate(names):
        text += f'{", " if i else ""}"{name}":'
        offered = candidates(free, properties[name])
        close = "," if i + 1 < len(names) else "}}"
        shared = scorer.begin(text)
        scores = scorer.tails(shared, [f" {c}{close}" for c in offered])
        best = offered[scores.index(max(scores))]
        text += f" {best}"
        out[name] = json.loads(best)
        if "enum" not in properties[name]:
            free = without(free, out[name]) or request
    return out


def without(request: str, value: Any) -> str:
    """The request with the first place where the value stands taken out."""
    said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, bool) or not said:
        return request
    return re.sub(rf"(?<!\w){re.escape(said)}(?!\w)", "", request, count=1)


def matches(said: dict[str, Any], possible: dict[str, list[Any]]) -> bool:
    """Every value possible; what is missing may be missing."""
    for name, answers in possible.items():
        if name not in said:
            if "" not in answers:
                return False
        elif not any(_same(said[name], a) for a in answers):
            return False
    return set(said) <= set(possible)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return re.sub(r"[ ,./\-_*^]", "", a).lower() == re.sub(r"[ ,./\-_*^]", "", b).lower()
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b
    return bool(a == b)


def measure(scorer: Any, data: Path, *, draws: int, queries: int, seed: int) -> list[list[bool]]:
    """Hits of each draw."""
    every = rows(data)
    out = []
    for i in range(draws):
        chosen = random.Random(f"{seed}/bfcl/{i}").sample(every, min(queries, len(every)))
        out.append([matches(call(scorer, r, f), a) for r, f, a in chosen])
    return out
