"""XQuAD in English: an answer out of the passage, and the same question with no passage.

The question stands before the passage as well as after it: a causal model reads a passage better
when it knows what is asked. *Free*: greedy text up to the line's end. *From the passage*: the
likeliest of the passage's runs of whole words, closed by a line end, found by a beam over the
passage's own continuations, so that what is not in the passage cannot be said. Exact match after
SQuAD's normalisation (Rajpurkar et al. 2016).
"""

from __future__ import annotations

import json
import random
import re
import string
from pathlib import Path
from typing import Any

from pretraining.measuring.scorers import Scorer

TELL = "Answer the question with words from the passage.\n\n"
LONGEST = 24  # tokens
BEAM = 5
WORD_MARKS = ("Ġ", "▁")  # what a piece begins with that follows a space


def prompt(passage: str | None, question: str) -> str:
    """What the model is given."""
    if passage is None:
        return f"Answer the question.\n\nQuestion: {question}\nAnswer:"
    return f"{TELL}Question: {question}\nPassage: {passage}\nQuestion: {question}\nAnswer:"


def rows(data: Path) -> list[tuple[str, str, list[str]]]:
    """(passage, question, answers)."""
    found = json.loads((data / "data/xquad-en/xquad.en.json").read_text(encoding="utf-8"))
    return [
        (p["context"], q["question"], [a["text"] for a in q["answers"]])
        for article in found["data"]
        for p in article["paragraphs"]
        for q in p["qas"]
    ]


def plain(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def matches(said: str, answers: list[str]) -> bool:
    """Exact match with any of the answers."""
    return plain(said) in [plain(a) for a in answers]


def span(scorer: Scorer, text: str, passage: str) -> str:
    """The likeliest run of whole words of the passage: log p(run) + log p(end | run)."""
    tokenizer = scorer.tokenizer
    source = tokenizer(" " + passage, add_special_tokens=False)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(source)
    starts = [piece[:1] in WORD_MARKS for piece in pieces]
    inside = [str(tokenizer.decode([t]))[:1].isalnum() for t in source]  # a word goes on
    begun = scorer.begin(text)
    first = scorer.after(begun, [[]])[0]
    at: dict[int, list[int]] = {}  # token → places in the passage after which a run may go on
    for i, token in enumerate(source):
        if starts[i]:
            at.setdefault(token, []).append(i + 1)
    beams = [([t], float(first[t]), places) for t, places in at.items()]
    beams = sorted(beams, key=lambda b: -b[1])[:BEAM]
    best, found = float("-inf"), ""
    for _ in range(LONGEST):
        longer = []
        for (said, score, places), row in zip(
            beams, scorer.after(begun, [b[0] for b in beams]), strict=True
        ):
            whole = [p for p in places if p == len(source) or starts[p] or not inside[p]]
            closed = score + float(row[scorer.ends].logsumexp(-1))
            if whole and closed > best:
                best, found = closed, str(tokenizer.decode(said)).strip()
            nexts: dict[int, list[int]] = {}
            for p in places:
                if p < len(source):
                    nexts.setdefault(source[p], []).append(p + 1)
            longer += [([*said, t], score + float(row[t]), ps) for t, ps in nexts.items()]
        beams = sorted((b for b in longer if b[1] > best), key=lambda b: -b[1])[:BEAM]
        if not beams:
            break
    return found


def measure(scorer: Scorer, data: Path, *, draws: int, queries: int, seed: int) -> dict[str, Any]:
    """Hits of each draw, by way of answering."""
    every = rows(data)
    hits: dict[str, list[list[bool]]] = {"free": [], "from the passage": [], "no passage": []}
    for i in range(draws):
        chosen = random.Random(f"{seed}/xquad/{i}").sample(every, queries)
        for name in hits:
            hits[name].append([])
        for passage, question, answers in chosen:
            hits["free"][-1].append(
                matches(scorer.greedy(prompt(passage, question), LONGEST), answers)
            )
            said = span(scorer, prompt(passage, question), passage)
            hits["from the passage"][-1].append(matches(said, answers))
            hits["no passage"][-1].append(
                matches(scorer.greedy(prompt(None, question), LONGEST), answers)
            )
    return hits
