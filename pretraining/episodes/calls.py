"""Tool calls: a described function, a request in words, the call as JSON with values copied.

Functions are made up: a verb, a noun, and parameters of a few types. Values stand in the request in
many wordings and orders; parameters that the request does not mention are optional and left out of
the call. Where a value stands is tagged, which shows the matching heads where to look.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from pretraining.episodes.piece import Episode, Piece
from pretraining.episodes.pools import Pools
from pretraining.episodes.synthetic import NAMES, PLACES
from pretraining.texts.lexicon import listed

VERBS = listed(
    "calculate find get compute estimate book convert search check predict compare list create "
    "update solve analyse send fetch determine plan schedule order count measure simulate"
)
SUBJECTS = listed(
    "area distance price weather recipe route volume growth interest speed energy score game "
    "budget flight hotel event tax loan population density probability force temperature mass "
    "match restaurant song book paint garden museum court genome investment mortgage battery"
)
AMOUNTS = listed(
    "base height width length radius mass velocity time distance rate principal years days nights "
    "guests people rooms amount price weight age pressure volume charge angle depth speed sides "
    "quantity duration limit budget population score year month temperature power current hours"
)
UNITS = listed("meters kg seconds units years days dollars percent hours liters km degrees miles")
WHO = listed("name player artist author user customer patient actor employee friend team")
WHERE = listed("city location destination place origin country region area address")
WHAT = listed("item topic genre product language species category color subject title currency")
MONTHS = listed(
    "January February March April May June July August September October November December"
)
OPENERS = [
    "", "", "", "Can you ", "Please ", "I need to ", "I want to ", "Could you ", "Help me to ",
]  # fmt: skip
BLURBS = ["The {p} of the {s}.", "The {p}.", "{P} to use.", "The {p} for the {s}", "{P} in {u}."]


@dataclass(frozen=True)
class Argument:
    """A parameter with its value and the words around the value in the request."""

    name: str
    kind: str
    blurb: str
    value: Any
    before: str
    said: str
    after: str


def amount(draw: random.Random, name: str, subject: str) -> Argument:
    """A number."""
    whole = draw.random() < 0.75
    value: float = draw.choice(
        [draw.randint(1, 12), draw.randint(1, 100), draw.randint(100, 5000)]
        if whole
        else [round(draw.uniform(0, 10), 1), round(draw.uniform(0, 1), 2)]
    )
    word, unit = name.replace("_", " "), draw.choice(UNITS)
    before, after = draw.choice(
        [
            (f"with a {word} of", f" {unit}"),
            (f"with {word}", ""),
            (f"where the {word} is", ""),
            (f"{word} =", ""),
            (f"given a {word} of", f" {unit}"),
            ("with", f" {word}"),
            ("for", f" {word}"),
            ("of", f" {unit} {word}"),
            (f"and the {word} is", f" {unit}"),
            (f"whose {word} is", ""),
        ]
    )
    blurb = _blurb(draw, word, subject, unit)
    return Argument(name, "integer" if whole else "float", blurb, value, before, str(value), after)


def text(pools: Pools, draw: random.Random, name: str, subject: str) -> Argument:
    """A string: a person, a place, a date or some words."""
    word = name.replace("_", " ")
    if name in WHO:
        value = draw.choice(NAMES)
        if draw.random() < 0.5:
            value += " " + draw.choice(pools.words).capitalize()
        before = draw.choice(["for", "by", f"for the {word}", "of", f"with {word}", "named"])
    elif name in WHERE:
        value = draw.choice(PLACES)
        if draw.random() < 0.3:
            value = f"{draw.choice(['New', 'San', 'Port', 'Saint'])} {value}"
        before = draw.choice(["in", "at", "to", "from", f"with {word}", "near", "around"])
    elif name == "date":
        value = f"{draw.choice(MONTHS)} {draw.randint(1, 28)}"
        before = draw.choice(["on", "for", "starting on"])
    else:
        value = " ".join(draw.sample(pools.words, draw.choice([1, 1, 2, 3])))
        before = draw.choice(["about", f"for the {word}", f"with {word}", "of", f"{word}", "for"])
    quoted = draw.random() < 0.15
    blurb = _blurb(draw, word, subject, "text")
    said = f"'{value}'" if quoted else value
    return Argument(name, "string", blurb, value, before, said, "")


def numbers(draw: random.Random, name: str, subject: str) -> Argument:
    """A list of numbers."""
    value = [draw.randint(1, 60) for _ in range(draw.randint(2, 5))]
    said = ", ".join(map(str, value))
    if draw.random() < 0.4:
        said = f"[{said}]"
    elif draw.random() < 0.4:
        said = " and ".join(said.rsplit(", ", 1))
    word = name.replace("_", " ")
    before = draw.choice([f"for the {word}", "of", f"with {word}", "from the list"])
    return Argument(name, "array", f"The list of {word}.", value, before, said, "")


def _blurb(draw: random.Random, word: str, subject: str, unit: str) -> str:
    return draw.choice(BLURBS).format(p=word, P=word.capitalize(), s=subject, u=unit)


def arguments(pools: Pools, draw: random.Random, subject: str) -> list[Argument]:
    """One to four parameters of different names."""
    names: list[str] = []
    for _ in range(draw.choice([1, 2, 2, 3, 3, 4])):
        kind = draw.random()
        if kind < 0.5:
            name = draw.choice(AMOUNTS)
            if draw.random() < 0.25:
                name = f"{draw.choice(['initial', 'final', 'max', 'min', 'total'])}_{name}"
        elif kind < 0.62:
            name = "numbers" if draw.random() < 0.5 else f"{draw.choice(pools.words)}_list"
        elif kind < 0.95:
            name = draw.choice([*WHO, *WHERE, *WHAT, "date"])
        else:
            name = draw.choice(pools.words)
        if name not in names:
            names.append(name)
    found = []
    for name in names:
        if name.rpartition("_")[2] in AMOUNTS:
            found.append(amount(draw, name, subject))
        elif name == "numbers" or name.endswith("_list"):
            found.append(numbers(draw, name, subject))
        else:
            found.append(text(pools, draw, name, subject))
    return found


def described(
    draw: random.Random, name: str, blurb: str, given: list[Argument], spare: list[Argument]
) -> str:
    """The function as its caller is told of it: JSON schema, or one line a parameter."""
    both = [*given, *spare]
    # What is optional and asked for is in the call all the same.
    needed = [a.name for a in given if len(given) < 2 or draw.random() > 0.25]
    if draw.random() < 0.4:
        properties = {a.name: {"type": a.kind, "description": a.blurb} for a in both}
        schema = {
            "type": "object", "properties": properties, "required": needed,
        }  # fmt: skip
        return json.dumps({"name": name, "description": blurb, "parameters": schema})
    lines = [f"{name}: {blurb}"]
    for a in both:
        lines.append(f"- {a.name} ({a.kind}{'' if a.name in needed else ', optional'}): {a.blurb}")
    return "\n".join(lines)


def tool_call(pools: Pools, draw: random.Random) -> Episode:
    """One function, sometimes two; a request; the call."""
    verb, subject = draw.choice(VERBS), draw.choice([*SUBJECTS, draw.choice(pools.words)])
    given = arguments(pools, draw, subject)
    spare = []
    if draw.random() < 0.35:
        taken = {a.name for a in given}
        spare = [a for a in arguments(pools, draw, subject) if a.name not in taken]
        spare = spare[: draw.choice([1, 1, 2])]
    joint = draw.choice(["_", "_", "."])
    name = f"{verb}{joint}{subject}" if draw.random() < 0.8 else f"{subject}{joint}{verb}"
    told = " and ".join(a.name.replace("_", " ") for a in given)
    blurb = f"{verb.capitalize()} the {subject}" + draw.choice(["", f" given {told}"]) + "."
    opener = draw.choice(OPENERS) + f"{verb} the {subject}"
    if draw.random() < 0.25:
        opener = draw.choice(["What is the ", "How big is the ", "Tell me the "]) + subject
    request = [Piece(opener[:1].upper() + opener[1:])]
    order = list(range(len(given)))
    if draw.random() < 0.4:
        draw.shuffle(order)
    for n, i in enumerate(order):
        a = given[i]
        link = draw.choice([" and ", ", ", " "]) if n else " "
        quote = a.said.startswith("'")
        request.append(Piece(f"{link}{a.before}" + (" '" if quote else "")))
        # Digits are tokens of their own, words carry the space before them.
        bare = a.said[1:-1] if quote else a.said
        space = "" if quote else " "
        if a.kind in ("integer", "float"):
            request[-1] = Piece(request[-1].text + space)
            space = ""
        request.append(Piece(space + bare, tag=i, due=False))
        request.append(Piece(("'" if quote else "") + a.after))
    request.append(Piece(draw.choice([".", "?", "", "."])))
    return call(draw, name, blurb, given, spare, request, arguments(pools, draw, subject))


def call(
    draw: random.Random,
    name: str,
    blurb: str,
    given: list[Argument],
    spare: list[Argument],
    request: list[Piece],
    others: list[Argument],
) -> Episode:
    """The listing of the function, and sometimes of one with the parameters ``others``; the request
    in pieces, where piece tags are numbers of ``given``; the call."""
    listing = described(draw, name, blurb, given, spare)
    if others and draw.random() < 0.25:
        other = f"{draw.choice(VERBS)}_{draw.choice(SUBJECTS)}"
        extra = described(draw, other, "Another function.", others, [])
        listing = "\n".join(draw.sample([listing, extra], 2))
    if draw.random() < 0.6:
        pieces = [
            Piece(f"<|system|>\nTools:\n{listing}<|end|>\n<|user|>\n"), *request,
            Piece("<|end|>\n<|assistant|>\n"),
        ]  # fmt: skip
        end = Piece("<|end|>", 0.3)
    else:
        pieces = [Piece(f"Tools:\n{listing}\n\nRequest: "), *request, Piece("\nCall: ")]
        end = Piece("\n", 0.3)
    pieces.append(Piece(f'{{"name": "{name}", "arguments": {{', 0.4))
    for i, a in enumerate(given):
        quote = '"' if a.kind == "string" else ""
        said = str(a.value) if quote else json.dumps(a.value)
        lead, space = f'{", " if i else ""}"{a.name}":', " " if a.kind == "array" else ""
        pieces.append(Piece(lead + (' "' if quote else " "[len(space) :]), 0.3))
        pieces.append(Piece(said if quote else space + said, 1.0, tag=i))
        pieces.append(Piece(quote or "", 0.5))
    pieces += [Piece("}}", 0.5), end]
    return Episode("tool", [p for p in pieces if p.text])
