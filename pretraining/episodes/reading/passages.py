"""Answers copied from a passage, answers that are not there, and running text."""

from __future__ import annotations

import random
import re

from pretraining.episodes.piece import Episode, Piece
from pretraining.episodes.pools import Pools
from pretraining.episodes.synthetic import NAMES, PLACES
from pretraining.texts.lexicon import listed

JOBS = listed("baker teacher pilot farmer painter doctor lawyer singer driver nurse clerk cook")
FACTS = [
    ("{n} lives in {p}.", "Where does {n} live?", "{p}"),
    ("{n} works as a {j}.", "What is {n}'s job?", "{j}"),
    ("{n} was born in {y}.", "When was {n} born?", "{y}"),
    ("{n} bought a {w}.", "What did {n} buy?", "{w}"),
    ("The {w} belongs to {n}.", "Who owns the {w}?", "{n}"),
    ("The code of the {w} is {y}.", "What is the code of the {w}?", "{y}"),
    ("The {w} was found in {p} by {n}.", "Who found the {w}?", "{n}"),
    ("The {w} was found in {p} by {n}.", "Where was the {w} found?", "{p}"),
    ("In {y}, the {w} moved to {p}.", "In which year did the {w} move to {p}?", "{y}"),
    ("{n}, a {j} from {p}, wrote about the {w}.", "What did {n} write about?", "the {w}"),
    ("{n} met the {j} in {p}.", "Whom did {n} meet?", "the {j}"),
]
ASKS = [
    "Passage: {c}\n\nQuestion: {q}\nAnswer:",
    "{c}\n\nQ: {q}\nA:",
    "Context: {c}\nQuestion: {q}\nAnswer:",
    "Answer from the passage.\n\n{c}\n\nQuestion: {q}\n\nAnswer:",
    "Question: {q}\n\nText: {c}\n\nAnswer:",
    "Answer the question with words from the passage.\n\nInput: {c}\n\n{q}\nAnswer:",
]
ABSENT = "not in the passage"
QA = (
    "adversarial_qa",
    "quoref",
    "ropes",
    "kilt",
    "quarel",
    "sciq",
    "wiqa",
    "qasc",
    "dream",
    "cosmos",
    "social",
    "commonsense",
    "common_gen",
    "samsum",
    "gigaword",
    "wiki_bio",
    "duorc",
    "quartz",
    "paws",
    "glue",
    "dbpedia",
    "app_reviews",
    "amazon",
    "yelp",
    "imdb",
    "wiki_qa",
)


def facts(pools: Pools, draw: random.Random) -> Episode:
    """Made-up facts among real sentences, then a question or two."""
    said, asked = [], []
    for _ in range(draw.randint(1, 5)):
        fill = {
            "n": draw.choice(NAMES),
            "p": draw.choice(PLACES),
            "j": draw.choice(JOBS),
            "y": str(draw.randint(1500, 2030)),
            "w": draw.choice(pools.words),
        }
        fact, question, answer = (t.format(**fill) for t in draw.choice(FACTS))
        if question not in [q for q, _ in asked]:
            said.append(fact)
            asked.append((question, answer))
    filler = draw.choice(["novel", "wiki", "cnn", "quoref"])
    for _ in range(draw.randint(0, 3)):
        said.insert(
            draw.randrange(len(said) + 1), pools.texts[draw.choice(pools.by_source[filler])]
        )
    question, answer = draw.choice(asked)
    tell = ""
    if draw.random() < 0.3:
        tell = f'If the answer is not there, write "{ABSENT}".\n\n'
        if draw.random() < 0.4:
            other = {"n": "Gustav", "p": "Lisbon", "j": "tailor", "y": "1066", "w": "lantern"}
            question, answer = draw.choice(FACTS)[1].format(**other), ABSENT
    ask = draw.choice(ASKS).format(c=" ".join(said), q=question)
    return Episode("facts", [Piece(tell + ask), Piece(f" {answer}", 1.0), Piece("\n", 0.3)])


def extract(pools: Pools, draw: random.Random) -> Episode:
    """A real sentence and a part of it to find: what follows or precedes some words, or a gap."""
    w: list[str] = []
    while len(w) < 8:
        w = pools.texts[draw.randrange(len(pools.texts))].split()
    i = draw.randrange(2, len(w) - 3)
    n = draw.randint(1, 3)
    answer = " ".join(w[i : i + n])
    text = " ".join(w)
    if draw.random() < 0.5:
        q = f'Which words come after "{" ".join(w[i - 2 : i])}"?'
    else:
        q = " ".join([*w[max(0, i - 4) : i], "___", *w[i + n : i + n + 3]])
    ask = draw.choice(ASKS).format(c=text, q=q)
    return Episode("extract", [Piece(ask), Piece(f" {answer}", 0.7), Piece("\n", 0.3)])


def prompted(pools: Pools, draw: random.Random, budget: int) -> Episode:
    """A prompted task with its answer; the answer carries the loss."""
    while True:
        row = draw.choice(pools.t0)
        if len(row["prompt"]) < budget and row["template"].startswith(QA):
            break
    answer = re.sub(r"\s+", " ", row["completion"].strip())[:300]
    inside = len(answer) > 2 and answer.lower() in row["prompt"].lower()
    weight = 0.7 if inside else 0.25
    prompt = row["prompt"].strip()
    if draw.random() < 0.25:
        pieces = [
            Piece(f"<|user|>\n{prompt}<|end|>\n<|assistant|>\n"),
            Piece(answer, weight),
            Piece("<|end|>", 0.3),
        ]
    else:
        mark = draw.choice(["\n", "\n", "\nAnswer:"])
        lead = " " if mark.endswith(":") else ""
        pieces = [Piece(prompt + mark), Piece(lead + answer, weight), Piece("\n", 0.3)]
    return Episode("prompted", pieces)


def running(pools: Pools, draw: random.Random, budget: int) -> Episode:
    """Novels and dialogues as they are; dialogues sometimes in the chat template."""
    row = draw.choice(pools.documents)
    text = row["text"][:budget]
    if row["kind"] == "dialogue" and draw.random() < 0.5:
        pieces = []
        for line in text.split("\n"):
            role, _, said = line.partition(": ")
            mine = role != "User"
            pieces.append(Piece(f"<|{'assistant' if mine else 'user'}|>\n"))
            pieces += [Piece(said, 0.35 if mine else 0.2), Piece("<|end|>", 0.2), Piece("\n")]
        return Episode("chat", pieces, False)
    return Episode(row["kind"], [Piece(text, 0.3)], False)
