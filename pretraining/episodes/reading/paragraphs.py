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
from collections.abc import Callable
from functools import lru_cache

from pretraining.episodes.piece import Episode, Piece
from pretraining.episodes.pools import Pools
from pretraining.episodes.reading.questions import DATE, QUANTITY, Asker
from pretraining.texts.lexicon import listed

FORMS = [
    # A causal model reads a passage better when it knows the question, and finds the answer better
    # when the question stands near: so mostly both.
    "Question: {q}\nPassage: {c}\nQuestion: {q}\nAnswer:",
    "Question: {q}\nPassage: {c}\nQuestion: {q}\nAnswer:",
    "Question: {q}\n\nPassage: {c}\n\nQuestion: {q}\nAnswer:",
    "Input: {q}\nPassage: {c}\nInput: {q}\nAnswer:",
    "Question: {q}\n\nPassage: {c}\n\nAnswer:",
    "Q: {q}\n{c}\nA:",
    "Passage: {c}\n\nQuestion: {q}\nAnswer:",
    "Passage: {c}\nQuestion: {q}\nAnswer:",
    "{c}\n\nQ: {q}\nA:",
    "Context: {c}\nQuestion: {q}\nAnswer:",
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
NAME = re.compile(
    r"[A-Z][\w'’-]+(?: (?:of the |of |de |van |the )?[A-Z][\w'’-]+)*(?: \d[\dA-Z]*\b)?"
)
PHRASE = re.compile(
    r"\b(?:the|a|an|of|by|called|as|for|with) ((?:[a-z][\w-]+ ){0,2}[a-z][\w-]{3,})"
    r"(?=[,.;:)]| (?:of|in|and|to|for|that|which|was|were|is|by|on|at|from|with)\b)"
)
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
LEAD = re.compile(r"^(?:[A-Z][\w ]{2,40}: ?)+(?:- )?(?:[A-Z]+, [\w ]+(?:\(CNN\) )?--? )?")


HELD = 40  # one paragraph in so many is kept for measuring


def paragraphs(pools: Pools, *, held_out: bool = False) -> list[list[str]]:
    """Paragraphs of prompted tasks as lists of sentences, each paragraph once; those to learn from,
    or those held out."""
    return _paragraphs(pools)[held_out]


@lru_cache(maxsize=1)
def _paragraphs(pools: Pools) -> tuple[list[list[str]], list[list[str]]]:
    found: dict[str, list[str]] = {}
    for row in pools.t0:
        for block in re.split(r"\n+", row["prompt"]):
            block = LEAD.sub("", " ".join(block.split()).strip("\"' -"))
            sentences = [s for s in SENTENCE.split(block) if 20 < len(s) < 400]
            if len(block) > 250 and len(sentences) >= 3:
                found.setdefault(block[:80], sentences)
    every = list(found.values())
    kept = [p for i, p in enumerate(every) if i % HELD]
    return kept, every[::HELD]


def spans(sentence: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of what may be asked for: numbers, names, noun phrases."""
    out = []
    dates = [m.span() for m in DATE.finditer(sentence)]
    out += [(*d, "year") for d in dates]
    for m in QUANTITY.finditer(sentence):
        if not any(a <= m.start() < b for a, b in dates):
            out.append((*m.span(), "number"))
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


@lru_cache(maxsize=1)
def asker(pools: Pools) -> Asker:
    """Knows the names that stand in the paragraphs."""
    return Asker([s for sentences in paragraphs(pools) for s in sentences])


def offers(
    pools: Pools, draw: random.Random, sentences: list[str]
) -> list[tuple[int, int, int, str]]:
    """(sentence, start, end, question), in the order in which they are to be taken: two in three
    are questions, the others clozes."""
    out = []
    for i, sentence in enumerate(sentences):
        for _ in range(3):
            made = asker(pools).ask(draw, sentence)
            if made is not None:
                out.append((draw.random() * 0.5, i, made.first, made.last, made.text))
        for span in spans(sentence):
            out.append((draw.random(), i, span[0], span[1], ask(pools, draw, sentence, span)))
    return [o[1:] for o in sorted(out)]


AUXILIARIES = frozenset(listed("was were is are had has have can could will would may must should"))
ABOUT_TIME = frozenset(listed("in on since by during until from around before after of"))
ABOUT_PLACE = frozenset(listed("in at near to from across into"))


def ask(pools: Pools, draw: random.Random, sentence: str, span: tuple[int, int, str]) -> str:
    """A question for the span, from the words around it."""
    start, end, kind = span
    left = re.sub(r"[\"“”(),;:]", "", sentence[:start]).split()[-12:]
    right = re.sub(r"[\"“”(),;:.!?]", "", sentence[end:]).split()[:12]
    wh = draw.choice(
        {
            "year": ["when", "in what year", "in which year", "what year"],
            "number": ["how many", "how many", "what number of", "how much"],
            "name": ["who", "what", "which", "where"],
            "phrase": ["what", "what", "which"],
        }[kind]
    )
    keep = draw.choice([1.0, 0.85, 0.7])
    before = left[-1].lower() if left else ""

    def thinned(words: list[str]) -> list[str]:
        out = []
        for w in words:
            small = w.lower() in SMALL
            if draw.random() > (0.85 if small else keep):
                continue
            if not small and draw.random() < 0.15:
                w = _like(pools, draw, w)
            out.append(w)
        return out

    if draw.random() < 0.65:
        if kind == "year" and before in ABOUT_TIME:
            left = left[:-1]
        elif kind == "name" and before in ABOUT_PLACE and draw.random() < 0.7:
            left, wh = left[:-1], "where"
        elif kind == "name" and before == "by":
            wh = draw.choice(["who", "by whom", "what"])
        parts = _as_question(draw, wh, kind, left, right, thinned)
    else:
        left, right = thinned(left), thinned(right)
        if len(left) <= 2:
            parts = [wh, *right]
        else:
            parts = draw.choice(
                [
                    [wh, *right, *left],
                    [wh, draw.choice(["did", "was", "is", "were"]), *left, *right],
                    [*left, wh, *right],
                ]
            )
    text = " ".join(parts)
    if kind != "name" and draw.random() < 0.15:
        text = text.lower()
    return text[:1].upper() + text[1:] + draw.choice(["?", "?", "?", ""])


def _as_question(
    draw: random.Random,
    wh: str,
    kind: str,
    left: list[str],
    right: list[str],
    thinned: Callable[[list[str]], list[str]],
) -> list[str]:
    """Word order of a question: the verb before its subject, the asked-for part first."""
    if len(left) <= 1 and right:  # the subject itself
        return [wh, *thinned(right)]
    counted: list[str] = []
    if kind == "number" and right:
        n = draw.randint(1, min(3, len(right)))
        counted, right = right[:n], right[n:]
    first = left[0].lower() if left and left[0] not in ("I",) else "I"
    left = [first, *left[1:]] if left and first in SMALL else left
    verbs = [i for i, w in enumerate(left) if w.lower() in AUXILIARIES]
    rest = right[: draw.choice([0, 0, 3, 6])]
    if verbs:
        i = verbs[-1]
        return [wh, *counted, left[i], *thinned([*left[:i], *left[i + 1 :], *rest])]
    return [wh, *counted, draw.choice(["did", "did", "does"]), *thinned([*left, *rest])]


def _like(pools: Pools, draw: random.Random, word: str) -> str:
    """A word of like meaning, where the pools know one."""
    at = _places(pools).get(word.lower())
    return word if at is None else pools.words[int(draw.choice(list(pools.word_near[at][1:6])))]


@lru_cache(maxsize=1)
def _places(pools: Pools) -> dict[str, int]:
    return {w: i for i, w in enumerate(pools.words)}


def cloze(
    pools: Pools, draw: random.Random, budget: int, *, single: bool = False, held_out: bool = False
) -> Episode:
    """A paragraph of about ``budget`` characters and one to eight questions on it, or one."""
    every = paragraphs(pools, held_out=held_out)
    while True:
        sentences = draw.choice(every)
        chosen: list[str] = []
        for s in sentences[draw.randrange(max(1, len(sentences) - 2)) :]:
            if chosen and sum(map(len, chosen)) + len(s) > budget:
                break
            chosen.append(s)
        found = offers(pools, draw, chosen)
        if found:
            break
    tell = draw.choice(TELLS)
    if len(chosen) > 1 and draw.random() < 0.07:
        which, start, end, question = found[0]
        answer = chosen[which][start:end]
        left = " ".join(s for i, s in enumerate(chosen) if i != which)
        if answer.lower() not in left.lower():
            none = draw.choice(ABSENT)
            tell = f'{tell.strip()} If the answer is not there, write "{none}".\n\n'.lstrip()
            pieces = laid_out(draw, tell, [Piece(left)], question, none)
            return Episode("reading", pieces, draw.random() < 0.5)
    taken: list[tuple[int, int, int]] = []
    asked: list[tuple[str, str]] = []
    # A passage is read once for many answers.
    most = 1 if single else draw.choice([1, 1, 2, 3, 5, 8])
    for which, start, end, question in found:
        if len(taken) < most and all(i != which or end < a or b < start for i, a, b in taken):
            taken.append((which, start, end))
            asked.append((question, chosen[which][start:end]))
    passage: list[Piece] = []
    for i, sentence in enumerate(chosen):
        at = 0
        for a, b, tag in sorted((a, b, t) for t, (w, a, b) in enumerate(taken) if w == i):
            before = sentence[at:a]
            space = before.endswith(" ")
            passage.append(Piece(before[:-1] if space else before))
            passage.append(Piece(" " * space + sentence[a:b], tag=tag, due=False))
            at = b
        passage.append(Piece(sentence[at:] + (" " if i + 1 < len(chosen) else "")))
    passage = [p for p in passage if p.text]
    if draw.random() < 0.2:
        passage = _numbered(draw, every, passage)
    pieces = laid_out(draw, tell, passage, *asked[0])
    more = draw.choice([("Question: ", "\nAnswer:"), ("Q: ", "\nA:")])
    for tag, (question, answer) in enumerate(asked[1:], 1):
        pieces += [Piece(f"{more[0]}{question}{more[1]}")]
        pieces += [Piece(f" {answer}", 1.0, tag=tag), Piece("\n", 1.0)]
    return Episode("reading", pieces, draw.random() < 0.5)


def _numbered(draw: random.Random, every: list[list[str]], passage: list[Piece]) -> list[Piece]:
    """The passage among one or two others, a line each, mostly numbered."""
    others = [" ".join(draw.choice(every)[:3])[:400] for _ in range(draw.choice([1, 1, 2]))]
    blocks = [[Piece(o)] for o in others]
    blocks.insert(draw.randrange(len(blocks) + 1), passage)
    out = []
    numbered = draw.random() < 0.6
    for i, block in enumerate(blocks):
        lead = ("\n" if i else "") + (f"[{i + 1}] " if numbered else "")
        out += [Piece(lead), *block] if lead else block
    return out


def laid_out(
    draw: random.Random, tell: str, passage: list[Piece], question: str, answer: str
) -> list[Piece]:
    """One of the forms, filled; the answer carries tag 0."""
    form = draw.choice(FORMS).replace("{q}", question.replace("{", "(").replace("}", ")"))
    head, _, tail = form.partition("{c}")
    return [
        Piece(tell + head),
        *passage,
        Piece(tail),
        Piece(f" {answer}", 1.0, tag=0),
        Piece("\n", 1.0),  # where an answer ends is half of what there is to learn
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


NATURAL = {  # template → what stands around the question and the passage
    "adversarial_qa_dbert_based_on": r"Question: (?P<q>.*?)\nContext: (?P<c>.*)",
    "adversarial_qa_dbidaf_based_on": r"Question: (?P<q>.*?)\nContext: (?P<c>.*)",
    "adversarial_qa_droberta_based_on": r"Question: (?P<q>.*?)\nContext: (?P<c>.*)",
    "quoref_Answer_Question_Given_Context": (
        r"context:\s+(?P<c>.*?)\s+answer the following question:\s+(?P<q>.*)"
    ),
    "duorc_SelfRC_extract_answer": r"Question: (?P<q>.*?)\nTitle: .*?\nMovie plot: (?P<c>.*)",
    "duorc_ParaphraseRC_extract_answer": (
        r"Question: (?P<q>.*?)\nTitle: .*?\nMovie plot: (?P<c>.*)"
    ),
    "sciq_Direct_Question": r"given this paragraph:\s+(?P<c>.*?)\s+Q: (?P<q>.*?)\s+A:",
    "ropes_plain_no_background": r"(?P<c>.*)\n+(?P<q>.+)",
}


@lru_cache(maxsize=1)
def _natural(pools: Pools) -> list[tuple[str, str, str]]:
    """(passage, question, answer) as people asked, the answer a span of the passage."""
    out = []
    for row in pools.t0:
        pattern = NATURAL.get(row["template"])
        answer = row["completion"].strip()
        found = re.search(pattern, row["prompt"].strip(), re.DOTALL) if pattern else None
        if found and 1 < len(answer) < 80 and answer in found["c"]:
            out.append((" ".join(found["c"].split()), found["q"].strip(), " ".join(answer.split())))
    return [row for row in out if row[2] in row[0]]


def natural(pools: Pools, draw: random.Random, budget: int) -> Episode:
    """A question as people asked it, with about ``budget`` characters of its passage."""
    passage, question, answer = draw.choice(_natural(pools))
    at = draw.choice([m.start() for m in re.finditer(re.escape(answer), passage)])
    first = max(0, at - draw.randint(0, budget))
    if first:
        first = passage.rfind(". ", 0, first + 1) + 2 if ". " in passage[: first + 1] else 0
    last = passage.find(". ", max(at + len(answer), first + budget)) + 1 or len(passage)
    text, at = passage[first:last], at - first
    space = text[:at].endswith(" ")
    pieces = [
        Piece(text[: at - space]),
        Piece(" " * space + answer, tag=0, due=False),
        Piece(text[at + len(answer) :]),
    ]
    pieces = [p for p in pieces if p.text]
    filled = laid_out(draw, draw.choice(TELLS), pieces, question, answer)
    return Episode("natural", filled, draw.random() < 0.5)


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
