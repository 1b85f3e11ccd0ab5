"""BFCL's simple Python calls: arguments copied into a JSON call, under constrained decoding.

The grammar fixes everything but the values and which optional parameters are given: the function's
name, its required parameters in order, the JSON around them. A value is the likeliest among what
the parameter's type allows and the request offers (numbers, lists of numbers, runs of words, the
listed choices), scored with what closes it; a place that one value was copied from is not offered
again. A call matches when every value is among the possible answers and what was left out may be
left out (the leaderboard's AST match: text without case, spaces and punctuation).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pretraining.measuring.scorers import Scorer
from pretraining.texts.lexicon import listed

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?")
PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?(?:%|percent)")
SCALED = re.compile(r"(\d+(?:\.\d+)?) (thousand|million|billion)")
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
WORDED = {
    word: value
    for value, word in enumerate(
        listed("zero one two three four five six seven eight nine ten eleven twelve")
    )
}
QUOTED = re.compile(r"(?<!\w)(['\"`‘“])(.+?)(['\"`’”])(?!\w)")
BRACKETS = re.compile(r"[\[(]([^\[\]()]*\d[^\[\]()]*)[\])]")
SERIES = re.compile(r"-?\d[\d.]*(?:(?:,| and|, and) -?\d[\d.]*)+")
BETWEEN = re.compile(r"(-?\d[\d.]*) (?:to|and) (?:[a-z] ?= ?)?(-?\d[\d.]*)")
AND = re.compile(r",? and |, | & ")
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
    """JSON texts that the value may be: what stands in the request, as the type writes it."""
    kind = about["type"]
    if "enum" in about:
        return [json.dumps(v) for v in about["enum"]]
    if kind == "boolean":
        return ["true", "false"]
    if kind in ("integer", "float"):
        return _texts(numbers(request, fractions=kind == "float")) or ["1"]
    if kind in ("array", "tuple"):
        words = (about.get("items") or {}).get("type") == "string"
        return _texts(_strings(request) if words else _lists(request)) or ["[]"]
    if kind == "dict":
        return ["{}"]
    return _texts(_runs(request))


def _texts(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(json.dumps(v) for v in values))


def numbers(request: str, *, fractions: bool) -> list[float | int]:
    """Numbers as they stand, in words, scaled ("2 million"), and percentages as fractions."""
    found: list[float | int] = [_number(m.group()) for m in NUMBER.finditer(request)]
    found += [WORDED[w] for w in re.findall(r"[a-z]+", request.lower()) if w in WORDED]
    for m in SCALED.finditer(request):
        found.append(_number(str(round(float(m.group(1)) * SCALES[m.group(2)]))))
    if fractions:
        found += [round(float(m.group(1)) / 100, 8) for m in PERCENT.finditer(request)]
    return found


def _lists(request: str) -> list[list[float | int]]:
    """Runs of numbers: in brackets, in series, from one to another; and all of them."""
    texts = [m.group(1) for m in BRACKETS.finditer(request)]
    texts += [m.group() for m in SERIES.finditer(request)]
    lists = [[_number(n) for n in NUMBER.findall(t)] for t in texts]
    lists += [[_number(m.group(1)), _number(m.group(2))] for m in BETWEEN.finditer(request)]
    every = [_number(n) for n in NUMBER.findall(request)]
    return [x for x in [*lists, every] if x]


def _strings(request: str) -> list[list[str]]:
    """Lists of words: all that is quoted, "A, B and C", or one run alone."""
    quoted = [m.group(2) for m in QUOTED.finditer(request)]
    out = [quoted] if quoted else []
    words = request.split()
    for i in range(len(words)):
        for n in range(3, 11):
            parts = AND.split(" ".join(words[i : i + n]))
            if i + n <= len(words) and len(parts) > 1 and all(len(p.split()) < 4 for p in parts):
                out.append([_bare(p) for p in parts])
    return [x for x in out if all(x)] + [[w] for w in _runs(request)]


def _number(text: str) -> float | int:
    value = float(text.replace(",", "").rstrip("."))
    return int(value) if value == int(value) and "." not in text else value


def _runs(request: str) -> list[str]:
    """What is quoted, and runs of up to five words without the punctuation at their ends."""
    out = [m.group(2) for m in QUOTED.finditer(request)]
    words = request.split()
    for i in range(len(words)):
        for n in range(1, MOST_WORDS + 1):
            if i + n <= len(words):
                out.append(_bare(" ".join(words[i : i + n])))
    return list(dict.fromkeys(r for r in out if r))


def _bare(run: str) -> str:
    run = run.strip("\"'`“‘’”()[]{},;:?!").rstrip(".")
    return run.removesuffix("'s").removesuffix("’s")


def call(scorer: Scorer, request: str, function: dict[str, Any]) -> dict[str, Any]:
    """The constrained call's arguments: parameters in the order of their listing, the optional ones
    where their name is likelier than what else may follow."""
    properties = function["parameters"]["properties"]
    required = [n for n in properties if n in function["parameters"].get("required", [])]
    asked = prompt(request, function)
    text = f'{{"name": "{function["name"]}", "arguments": {{'
    out: dict[str, Any] = {}
    free = request  # no two parameters copy the same place
    left = list(properties)
    while left:
        lead = '"' if not out else ', "'
        waiting = [n for n in left if n in required]
        may = left[: left.index(waiting[0]) + 1] if waiting else left
        ways = [f'{lead}{n}":' for n in may] + ([] if waiting else ["}}"])
        if len(ways) > 1:
            scores = scorer.tails(scorer.begin(asked, text), ways)
            picked = scores.index(max(scores))
            if picked == len(may):
                break
        else:
            picked = 0
        name = may[picked]
        left = left[left.index(name) + 1 :]
        text += ways[picked]
        offered = candidates(free, properties[name])
        close = "," if any(n in required for n in left) else "}}" if not left else ""
        scores = scorer.tails(scorer.begin(asked, text), [f" {c}{close}" for c in offered])
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


def measure(scorer: Scorer, data: Path, *, draws: int, queries: int, seed: int) -> list[list[bool]]:
    """Hits of each draw."""
    every = rows(data)
    out = []
    for i in range(draws):
        chosen = random.Random(f"{seed}/bfcl/{i}").sample(every, min(queries, len(every)))
        out.append([matches(call(scorer, r, f), a) for r, f, a in chosen])
    return out
