"""XQuAD in English: an answer out of the passage, and the same question with no passage.

The question stands before the passage as well as after it: a causal model reads a passage better
when it knows what is asked. *Free*: greedy text up to the line's end. *From the passage*: the
likeliest of the passage's runs of whole words, closed by a line end, found by a beam over the
passage's own continuations, so that what is not in the passage cannot be said. Exact match after
SQuAD's normalisation (Rajpurkar et al. 2016).
"""

from __future__ import annotations

import copy
import json
import random
import re
import string
from pathlib import Path
from typing import Any

import torch

TELL = "Answer the question with words from the passage.\n\n"
LONGEST = 24  # tokens
BEAM = 5


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


@torch.inference_mode()
def free(scorer: Any, text: str) -> str:
    """Greedy text up to the line's end."""
    tokenizer, model = scorer.tokenizer, scorer.model
    ends = _ends(tokenizer)
    out = model(torch.tensor([tokenizer(text)["input_ids"]]), use_cache=True, logits_to_keep=1)
    said: list[int] = []
    while len(said) < LONGEST:
        token = int(out.logits[0, -1].argmax())
        if token in ends:
            break
        said.append(token)
        out = model(torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True)
    return str(tokenizer.decode(said)).strip()


@torch.inference_mode()
def span(scorer: Any, text: str, passage: str) -> str:
    """The likeliest run of whole words of the passage: log p(run) + log p(end | run)."""
    tokenizer, model = scorer.tokenizer, scorer.model
    ends = sorted(_ends(tokenizer))
    source = tokenizer(" " + passage, add_special_tokens=False)["input_ids"]
    starts = [str(tokenizer.decode([t])).startswith(" ") for t in source]
    out = model(torch.tensor([tokenizer(text)["input_ids"]]), use_cache=True, logits_to_keep=1)
    shared = out.past_key_values
    first = out.logits[0, -1].log_softmax(-1)
    at: dict[int, list[int]] = {}  # token → places in the passage after which a run may go on
    for i, token in enumerate(source):
        if starts[i]:
            at.setdefault(token, []).append(i + 1)
    beams = [([t], float(first[t]), places) for t, places in at.items()]
    beams = sorted(beams, key=lambda b: -b[1])[:BEAM]
    best, found = float("-inf"), ""
    for _ in range(LONGEST):
        cache = copy.deepcopy(shared)
        cache.batch_repeat_interleave(len(beams))
        logits = model(torch.tensor([b[0] for b in beams]), past_key_values=cache).logits[:, -1]
        scores = logits.log_softmax(-1)
        longer = []
        for (said, score, places), row in zip(beams, scores, strict=True):
            whole = [p for p in places if p == len(source) or _closes(tokenizer, source, starts, p)]
            closed = score + float(row[ends].logsumexp(-1))
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


def _closes(tokenizer: Any, source: list[int], starts: list[bool], place: int) -> bool:
    """Whether a word ends before ``place``: a space or a mark follows."""
    return starts[place] or not str(tokenizer.decode([source[place]]))[:1].isalnum()


def _ends(tokenizer: Any) -> set[int]:
    line = tokenizer("\n", add_special_tokens=False)["input_ids"]
    return {tokenizer.eos_token_id, *line}


def measure(scorer: Any, data: Path, *, draws: int, queries: int, seed: int) -> dict[str, Any]:
    """Hits of each draw, by way of answering."""
    every = rows(data)
    hits: dict[str, list[list[bool]]] = {"free": [], "from the passage": [], "no passage": []}
    for i in range(draws):
        chosen = random.Random(f"{seed}/xquad/{i}").sample(every, queries)
        for name in hits:
            hits[name].append([])
        for passage, question, answers in chosen:
            hits["free"][-1].append(matches(free(scorer, prompt(passage, question)), answers))
            said = span(scorer, prompt(passage, question), passage)
            hits["from the passage"][-1].append(matches(said, answers))
            hits["no passage"][-1].append(matches(free(scorer, prompt(None, question)), answers))
    return hits
