"""XQuAD in English: an answer out of the passage, and the same question with no passage.

*Free*: greedy text up to the line's end. *From the passage*: greedy among the spans of the passage,
token by token, so that what is not in the passage cannot be said; the answer ends where a line end
is likelier than going on. Exact match after SQuAD's normalisation (Rajpurkar et al. 2016).
"""

from __future__ import annotations

import json
import random
import re
import string
from pathlib import Path
from typing import Any

import torch

TELL = "Answer the question with words from the passage.\n\n"
LONGEST = 24  # tokens


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
def read(scorer: Any, prompt: str, passage: str | None) -> str:
    """Greedy answer; among the passage's spans where a passage is given."""
    tokenizer, model = scorer.tokenizer, scorer.model
    ids = tokenizer(prompt)["input_ids"]
    ends = {tokenizer.eos_token_id, *tokenizer("\n", add_special_tokens=False)["input_ids"]}
    source = tokenizer(" " + passage, add_special_tokens=False)["input_ids"] if passage else []
    out = model(torch.tensor([ids]), use_cache=True, logits_to_keep=1)
    said: list[int] = []
    while len(said) < LONGEST:
        logits = out.logits[0, -1]
        if passage:
            n = len(said)
            nexts = {source[i + n] for i in range(len(source) - n) if source[i : i + n] == said}
            allowed = torch.full_like(logits, float("-inf"))
            may = list(nexts | (ends if said else set()))
            allowed[may] = logits[may]
            logits = allowed
        token = int(logits.argmax())
        if token in ends:
            break
        said.append(token)
        out = model(torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True)
    return str(tokenizer.decode(said)).strip()


def measure(scorer: Any, data: Path, *, draws: int, queries: int, seed: int) -> dict[str, Any]:
    """Hits of each draw, by way of answering."""
    every = rows(data)
    hits: dict[str, list[list[bool]]] = {"free": [], "from the passage": [], "no passage": []}
    for i in range(draws):
        chosen = random.Random(f"{seed}/xquad/{i}").sample(every, queries)
        for name in hits:
            hits[name].append([])
        for passage, question, answers in chosen:
            open_book = f"{TELL}Passage: {passage}\nQuestion: {question}\nAnswer:"
            closed = f"Answer the question.\n\nQuestion: {question}\nAnswer:"
            hits["free"][-1].append(matches(read(scorer, open_book, None), answers))
            found = read(scorer, open_book, passage)
            hits["from the passage"][-1].append(matches(found, answers))
            hits["no passage"][-1].append(matches(read(scorer, closed, None), answers))
    return hits
