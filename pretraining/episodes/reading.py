"""Questions whose answer is copied from a real paragraph.

Two kinds. *Cloze*: a span of a sentence is asked for with a question word, the rest of the sentence
reordered, thinned out and partly replaced by words of like meaning, so that matching words is not
enough (the idea of unsupervised question answering by cloze translation, Lewis, Denoyer and Riedel
2019). *Asked*: prompted tasks with a short answer that stands in the prompt. In both the place of
the answer is tagged, which shows the matching heads where to look.
"""

from __future__ import annotations

import random
import re
from functools import lru_cache

from ..lexicon import listed
from .piece import Episode, Piece
from .pools import Pools

FORMS = [
    "Passage: {c}\n\nQuestion: {q}\nAnswer:",
    "Passage: {c}\nQuestion: {q}\nAnswer:",
    "Passage: {c}\nQuestion: {q}\nAnswer:",
    "{c}\n\nQ: {q}\nA:",
    "Context: {c}\nQuestion: {q}\nAnswer:",
    "Question: {q}\n\nPassage: {c}\n\nAnswer:",
    "Text: {c}\nInput: {q}\nAnswer:",
]
TELLS = [
    "Answer the question with words from the passage.\n\n",
    "Answer from the passage.\n\n",
    "Read the passage and answer the question.\n\n",
    "Answer the question from the passages.\n\n",
    "",
    "",
]
ABSENT = ["not in the passage", "not in the documents", "unanswerable"]
SMALL = frozenset(
    listed(
        "the a an of in on at to for by with and or as is are was were be been that this "
        "it its from had has have which who whom their his her"
    )
)
NAME = re.compile(r"[A-Z][\w'’-]+(?: (?:of the |of |de |van |the )?[A-Z][\w'’-]+)*")
NUMBER = re.compile(r"\b\d[\d,.]*\d\b|\b\d\b")
PHRASE = re.compile(
    r"\b(?:the|a|an|of|by|called|as|was|were|is|are|for|with) ((?:[a-z][\w-]+ ){0,2}[a-z][\w-]{3,})"
    r"(?=[,.;:)]| (?:of|in|and|to|for|that|which|was|were|is|by|on|at|from|with)\b)"
)
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
WORLDLY = ("adversarial_qa", "quoref", "wiki_hop", "multi_news", "cnn_", "xsum", "ropes", "duorc")


@lru_cache(maxsize=1)
def paragraphs(pools: Pools) -> list[list[str]]:
    """Paragraphs of prompted tasks as lists of sentences, each paragraph once."""
    found: dict[str, list[str]] = {}
    for row in pools.t0:
        if not row["template"].startswith(WORLDLY):
            continue
        for block in re.split(r"\n+", row["prompt"]):
            block = " ".join(block.split()).strip("\"' ")
            sentences = [s for s in SENTENCE.split(block) if 20 < len(s) < 400]
            if len(block) > 250 and len(sentences) >= 3:
                found.setdefault(block[:80], sentences)
    return list(found.values())


def spans(sentence: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of what may be asked for: numbers, names, noun phrases."""
    out = []
    for m in NUMBER.finditer(sentence):
        year = re.fullmatch(r"1\d\d\d|20\d\d", m.group())
        out.append((*m.span(), "year" if year else "number"))
    for m in NAME.finditer(sentence):
        if m.start() or " " in m.group():
            words = m.group().split()
            if not (len(words) == 1 and words[0].lower() in SMALL | {"he", "she", "they", "i"}):
                out.append((*m.span(), "name"))
    for m in PHRASE.finditer(sentence):
        words = m.group(1).split()
        if not set(words) <= SMALL:
            out.append((*m.span(1), "phrase"))
    return [s for s in out if 2 <= s[1] - s[0] + (s[2] == "number") * 2 <= 50]


def ask(pools: Pools, draw: random.Random, sentence: str, span: tuple[int, int, str]) -> str:
    """A question for the span, from the words around it."""
    start, end, kind = span
    left = re.sub(r"[\"“”(),;:]", "", sentence[:start]).split()[-12:]
    right = re.sub(r"[\"“”(),;:.!?]", "", sentence[end:]).split()[:12]
    wh = draw.choice(
        {
            "year": ["when", "in what year", "in which year", "what year"],
            "number": ["how many", "how many", "what number of", "how much"],
            "name": ["who", "what", "which", "where", "what is the name of"],
            "phrase": ["what", "what", "which", "what kind of thing"],
        }[kind]
    )
    keep = draw.choice([1.0, 0.85, 0.7])

    def thinned(words: list[str]) -> list[str]:
        out = []
        for w in words:
            small = w.lower() in SMALL
            if draw.random() > (0.75 if small else keep):
                continue
            if not small and draw.random() < 0.12:
                w = _like(pools, draw, w)
            out.append(w)
        return out

    left, right = thinned(left), thinned(right)
    if kind == "number" and right:
        parts = [wh, *right, *left] if draw.random() < 0.6 else [*left, wh, *right]
    elif len(left) <= 2:
        parts = [wh, *right]
    else:
        parts = draw.choice(
            [
                [wh, *right, *left],
                [wh, draw.choice(["did", "was", "is", "were"]), *left, *right],
                [*left, wh, *right],
                [wh, draw.choice(["did", "was", "is"]), *left],
            ]
        )
    text = " ".join(parts)
    return text[:1].upper() + text[1:] + draw.choice(["?", "?", "?", ""])


def _like(pools: Pools, draw: random.Random, word: str) -> str:
    """A word of like meaning, where the pools know one."""
    at = _places(pools).get(word.lower())
    return word if at is None else pools.words[int(draw.choice(list(pools.word_near[at][1:6])))]


@lru_cache(maxsize=1)
def _places(pools: Pools) -> dict[str, int]:
    return {w: i for i, w in enumerate(pools.words)}


def cloze(pools: Pools, draw: random.Random, budget: int) -> Episode:
    """A paragraph of about ``budget`` characters and one to three questions on it."""
    every = paragraphs(pools)
    while True:
        sentences = draw.choice(every)
        first = draw.randrange(max(1, len(sentences) - 2))
        chosen: list[str] = []
        for s in sentences[first:]:
            if chosen and sum(map(len, chosen)) + len(s) > budget:
                break
            chosen.append(s)
        asked = [(i, span) for i, s in enumerate(chosen) for span in spans(s)]
        if asked:
            break
    tell = draw.choice(TELLS)
    which, span = draw.choice(asked)
    question = ask(pools, draw, chosen[which], span)
    answer = chosen[which][span[0] : span[1]]
    absent = draw.random() < 0.08
    if absent:
        none = draw.choice(ABSENT)
        tell = f'{tell.strip()} If the answer is not there, write "{none}".\n\n'.lstrip()
        del chosen[which]
        if not chosen or answer.lower() in " ".join(chosen).lower():
            return cloze(pools, draw, budget)
        passage, answer = [Piece(" ".join(chosen))], none
    else:
        before = " ".join(chosen[:which]) + (" " if which else "") + chosen[which][: span[0]]
        after = chosen[which][span[1] :] + "".join(" " + s for s in chosen[which + 1 :])
        space = before.endswith(" ")
        passage = [
            Piece(before[:-1] if space else before),
            Piece(" " * space + answer, tag=0, due=False),
            Piece(after),
        ]
    if draw.random() < 0.25:
        passage = _numbered(draw, every, passage)
    return Episode("reading", _laid_out(draw, tell, passage, question, answer), draw.random() < 0.5)


def _numbered(draw: random.Random, every: list[list[str]], passage: list[Piece]) -> list[Piece]:
    """The passage among one or two others, numbered."""
    others = [" ".join(draw.choice(every)[:3])[:400] for _ in range(draw.choice([1, 1, 2]))]
    blocks = [[Piece(o)] for o in others]
    blocks.insert(draw.randrange(len(blocks) + 1), passage)
    out = []
    for i, block in enumerate(blocks):
        out += [Piece(("\n" if i else "") + f"[{i + 1}] "), *block]
    return out


def _laid_out(
    draw: random.Random, tell: str, passage: list[Piece], question: str, answer: str
) -> list[Piece]:
    form = draw.choice(FORMS).replace("{q}", question.replace("{", "(").replace("}", ")"))
    head, _, tail = form.partition("{c}")
    return [
        Piece(tell + head),
        *passage,
        Piece(tail),
        Piece(f" {answer}", 1.0, tag=0),
        Piece("\n", 0.5),
    ]


@lru_cache(maxsize=1)
def _answerable(pools: Pools) -> list[tuple[str, str]]:
    """(prompt, answer) where a short answer stands in a prompt that is not too long."""
    wanted = ("adversarial_qa", "quoref_", "duorc", "ropes", "sciq", "kilt", "dream_", "wiki_hop")
    out = []
    for row in pools.t0:
        answer = row["completion"].strip()
        if (
            row["template"].startswith(wanted)
            and "generate_question" not in row["template"]
            and 1 < len(answer) < 60
            and len(answer.split()) <= 7
            and len(row["prompt"]) < 2600
            and answer in row["prompt"]
        ):
            out.append((row["prompt"].strip(), answer))
    return out


def asked(pools: Pools, draw: random.Random) -> Episode:
    """A prompted question with an answer that stands in its prompt."""
    prompt, answer = draw.choice(_answerable(pools))
    pieces = []
    for i, part in enumerate(prompt.split(answer)):
        space = ""
        if i:
            if pieces and pieces[-1].text.endswith(" "):
                pieces[-1] = Piece(pieces[-1].text[:-1])
                space = " "
            pieces.append(Piece(space + answer, tag=0, due=False))
        pieces.append(Piece(part))
    mark = draw.choice(["\n", "\nAnswer:", "\n\nAnswer:"])
    lead = " " if mark.endswith(":") else ""
    pieces = [p for p in pieces if p.text]
    pieces += [Piece(mark), Piece(lead + answer, 1.0, tag=0), Piece("\n", 0.4)]
    return Episode("asked", pieces)
