"""The many ways to lay out a labelled task: fields, separators, instructions, label lists."""

from __future__ import annotations

import dataclasses
import random
import string

FIELDS = [
    ("Input", "Label"),
    ("Text", "Label"),
    ("Message", "Category"),
    ("Question", "Answer"),
    ("Review", "Sentiment"),
    ("Sentence", "Class"),
    ("Text", "Topic"),
    ("Query", "Intent"),
    ("Utterance", "Intent"),
    ("Input", "Output"),
    ("Q", "A"),
    ("Comment", "Type"),
    ("Request", "Queue"),
    ("Headline", "Sentiment"),
    ("Text", "Sentiment"),
    ("User", "Intent"),
    ("x", "y"),
    ("Item", "Group"),
    ("Post", "Tag"),
    ("Email", "Folder"),
    ("Note", "Subject"),
    ("Customer", "Department"),
    ("Document", "Topic"),
    ("Statement", "Answer"),
    ("input", "label"),
    ("text", "label"),
    ("TEXT", "LABEL"),
    ("Passage", "Kind"),
    ("Line", "Label"),
    ("Case", "Route"),
]
ARROWS = [" -> ", " => ", " = ", " | ", " : ", "\t"]
INSTRUCTIONS = [
    "Classify the {x}.",
    "Choose the right {y} for each {x}.",
    "Give the {y} of the {x}.",
    "Which {y} fits the {x}?",
    "Assign each {x} to one {y}.",
    "Read the {x} and name its {y}.",
    "Your task is to pick the {y} that fits best.",
    "Decide which {y} the {x} belongs to.",
    "What is the {y} of this {x}?",
    "Label the {x} with one of the {y}s below.",
    "Sort the {x}s by {y}.",
    "Answer with the {y} only.",
    "Select the best {y}.",
    "Say what the {x} is about.",
    "Pick one {y}.",
    "Determine the {y} of the following {x}.",
    "You are given a {x}. Answer with its {y}.",
    "Find the {y}.",
]
LISTS = [
    "Labels: {c}",
    "Labels: {c}",
    "Labels: {c}",
    "Options: {c}",
    "Choose from: {c}.",
    "Possible answers: {c}",
    "The {y}s are: {c}.",
    "Categories: {c}",
    "One of: {c}",
    "Classes: {c}",
]
BETWEEN = ["\n\n", "\n\n", "\n\n", "\n", "\n---\n", "\n\n---\n\n", "\n###\n"]


@dataclasses.dataclass(frozen=True)
class Format:
    """How one episode is laid out."""

    head: list[tuple[str, int]]  # instruction and label list in parts, with the label's number
    before: str  # before an input
    cue: str  # between an input and the space before its label
    between: str  # between examples; begins with a newline
    listed: bool


def draw_format(
    draw: random.Random,
    labels: list[str],
    *,
    listed: bool,
    instruction: str | None = None,
    usual: float = 0.35,
) -> Format:
    """A random layout; a share ``usual`` is the family of the project's default prompt."""
    x, y = draw.choice(FIELDS)
    ours = draw.random() < usual
    if ours:
        x, y = draw.choice([("Input", "Label"), ("Input", "Label"), (x, y)])
    style = 0.0 if ours else draw.random()
    if style < 0.72:
        before, cue = f"{x}: ", f"\n{y}:"
    elif style < 0.78:
        before, cue = f"{x}: ", f" {y}:"
    elif style < 0.84:
        before, cue = "", f"\n{y}:"
    elif style < 0.88:
        before, cue = f"{x}:\n", f"\n\n{y}:"
    else:
        before, cue = "", draw.choice(ARROWS).rstrip(" ")
    between = "\n\n" if ours else draw.choice(BETWEEN)
    if instruction is None and draw.random() < (0.9 if listed else 0.6):
        instruction = draw.choice(INSTRUCTIONS).format(x=x.lower(), y=y.lower())
    head: list[tuple[str, int]] = []
    join = "\n\n" if ours else draw.choice(["\n\n", "\n", " "])
    if instruction:
        head.append((instruction + (join.rstrip(" ") if listed else ""), -1))
    if listed:
        order = list(range(len(labels)))
        if draw.random() < 0.5:
            draw.shuffle(order)
        if draw.random() < 0.12:
            opening, mark, closing = f"{y}s:\n-", "\n-", ""
        else:
            pattern = "Labels: {c}" if ours else draw.choice(LISTS)
            opening, closing = pattern.format(c="{c}", y=y.lower()).split(" {c}")
            mark = draw.choice([",", ",", ",", " |", ";"])
        if instruction and join == " ":
            opening = " " + opening
        for i, k in enumerate(order):
            head += [(mark if i else opening, -1), (" " + labels[k], k)]
        head.append((closing, -1))
    if head:
        head.append(("\n\n", -1))
    return Format(head, before, cue, between, listed)


def surface(draw: random.Random, names: list[str]) -> list[str]:
    """One style for all real names of an episode: as they are, spaces, title case, and so on."""
    style = draw.random()
    if style < 0.35:
        return [n.replace(" ", "_") for n in names]
    if style < 0.75:
        return [n.replace("_", " ") for n in names]
    if style < 0.85:
        return [n.replace("_", " ").title() for n in names]
    if style < 0.93:
        return [n.replace("_", " ").capitalize() for n in names]
    return [n.replace("_", "-").replace(" ", "-") for n in names]


def arbitrary(draw: random.Random, n: int, common: list[str]) -> list[str]:
    """Names that say nothing: letters, digits, words, syllables, numbered classes."""
    style = draw.random()
    if style < 0.22:
        start = draw.choice([0, 0, 0, draw.randrange(26 - n)])
        names = list(string.ascii_uppercase[start : start + n])
    elif style < 0.3:
        names = [str(i + draw.choice([0, 1])) for i in range(n)]
        names = names if len(set(names)) == n else [str(i + 1) for i in range(n)]
    elif style < 0.75:
        names = draw.sample(common, n)
        if draw.random() < 0.3:
            names = [w.capitalize() for w in names]
    elif style < 0.9:
        names = [
            f"{a}_{b}" for a, b in zip(draw.sample(common, n), draw.sample(common, n), strict=True)
        ]
        if draw.random() < 0.4:
            first = draw.choice(common)
            names = [f"{first}_{b}" for b in draw.sample(common, n)]
        if draw.random() < 0.5:
            names = [w.replace("_", " ") for w in names]
    elif style < 0.95:
        stem = draw.choice(["class", "group", "type", "label", "set"])
        names = [f"{stem} {i + 1}" for i in range(n)]
    else:
        parts = "ba be bi do du fa fi go gu ka ke la li mo mu na ni po pu ra ri so su ta ti vo zu"
        names = ["".join(draw.sample(parts.split(), 2)) for _ in range(n)]
        if len(set(names)) < n:
            names = draw.sample(common, n)
    draw.shuffle(names)
    return names
