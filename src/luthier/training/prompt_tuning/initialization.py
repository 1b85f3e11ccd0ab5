"""Where virtual tokens begin: at words, or at whole demonstrations.

From labels, text or vocabulary as Lester et al. 2021, section 3.2 (arXiv:2104.08691). From
demonstrations as Lu et al. 2025 (arXiv:2507.04221, CT-Prompt): what few-shot prompting would say,
as embeddings, which training then moves; so a base that learns in context does not begin at
nothing. P virtual tokens, H width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from luthier.engine import Session
from luthier.models.answering import render_for
from luthier.models.model import Model
from luthier.models.prompt import Demonstration
from luthier.records import Example
from luthier.task.task import Task

DEMONSTRATION_TOKENS = 512  # at most
WITHOUT_LABELS = 4  # demonstrations of a task that has none


@dataclass(frozen=True)
class InitialDemonstrations:
    """`start` (P, H), the ids it is made of (BOS first where the base begins with one, though
    `start` does not), and the examples that stand in it: they are not to be trained on, for they
    would be copied. `head`: the ids among them that a chat template puts before the first turn,
    which rows begin without (as in `VirtualTokens`)."""

    start: torch.Tensor
    ids: tuple[int, ...]
    head: tuple[int, ...]
    examples: tuple[Example, ...]


def from_words(
    session: Session, task: Task, tokens: int, init: str, seed: int, *, vote: int = 0
) -> torch.Tensor:
    """(P, H) from the base's own embeddings.

    "labels" cycles through the tokens of the labels; a task without labels falls back to "text",
    and one without text to "vocabulary", drawn from the 5,000 first (most frequent) tokens. Each
    `vote` after the first begins elsewhere: further on in the text, or in the labels, which stand
    in another order there.
    """
    labels = list(task.labels)
    if vote:
        random.Random(f"{seed}/{vote}").shuffle(labels)
    words = ", ".join(label.replace("_", " ").replace("-", " ") for label in labels)
    text = task.instruction
    if init == "labels" and words:
        source = words
    elif init != "vocabulary" and text:
        source = f"{text} {words}"
    else:
        source = ""
    if source:
        ids = list(session.tokenizer(source, add_special_tokens=False).input_ids)
        at = vote % max(len(ids), 1)
        ids = ids[at:] + ids[:at]
        ids = (ids * (tokens // max(len(ids), 1) + 1))[:tokens]
    else:
        generator = torch.Generator().manual_seed(seed + vote)
        most = min(5000, session.vocabulary)
        ids = torch.randint(0, most, (tokens,), generator=generator).tolist()
    return _embedded(session, ids)


def most_demonstration_tokens(session: Session, tokens: int | None) -> int:
    """How many tokens demonstrations may take: `tokens`, or 512 where that is None; at most a
    quarter of the context."""
    most = tokens or DEMONSTRATION_TOKENS
    return most if session.context_length is None else min(most, session.context_length // 4)


def from_demonstrations(
    session: Session, bare: Model, task: Task, most: int, seed: int
) -> InitialDemonstrations | None:
    """One short demonstration of each label, drawn by `seed`, as the prompt of `bare` shows them.

    None where `most` tokens do not hold one of each label (or a single one, without labels), and
    where the prompt is not a head and the end of the prompt with demonstrations: where an
    instruction begins it. The head is what a chat template puts before the first turn.
    """
    probe = task.train[0]
    tail = session.encode(render_for(bare, [probe])[0])
    begun = _template_head(session, bare, probe, tail)
    chosen = _short(task, random.Random(seed))
    while chosen:
        shown = tuple(Demonstration(e.text, e.target, e.context) for e in chosen)
        prompt = replace(bare.adaptation.prompt, demonstrations=shown)
        whole = session.encode(render_for(bare.adapt(prompt=prompt), [probe])[0])
        rest = tail[begun:]
        if len(whole) <= len(tail) or whole[:begun] != tail[:begun] or whole[-len(rest) :] != rest:
            return None
        ids = whole[: -len(rest)]
        first = int(ids[:1] == [session.tokenizer.bos_token_id] == tail[:1])
        if len(ids) - first <= most:
            start = _embedded(session, ids[first:])
            return InitialDemonstrations(start, tuple(ids), tuple(ids[first:begun]), tuple(chosen))
        if task.labels:
            return None
        chosen = chosen[:-1]
    return None


def _template_head(session: Session, bare: Model, probe: Example, ids: list[int]) -> int:
    """How many ids of a prompt stand before any input: those that the template makes itself, BOS
    among them. In plain text BOS alone, for there the names of columns belong to each example."""
    if not render_for(bare, [probe])[0].messages:
        return int(ids[:1] == [session.tokenizer.bos_token_id])
    others = [replace(probe, input=text, context=None) for text in ("0", "Zx", "\u00a7 q")]
    begun = len(ids) - 1
    for prompt in render_for(bare, others):
        other = session.encode(prompt)
        while ids[:begun] != other[:begun]:
            begun -= 1
    return begun


def _short(task: Task, draw: random.Random) -> list[Example]:
    """One example of each label, or a few of a task without: of the shorter third (a step pays for
    the whole prompt) one of those that are most like their label's others and least like the rest,
    by TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [e.text for e in task.train]
    views = TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(3, 4))
    vectors = views.fit_transform([f" {t} " for t in texts])
    groups: dict[str, list[int]] = {}
    for i, e in enumerate(task.train):
        groups.setdefault(e.target if task.labels else "", []).append(i)
    every = vectors.sum(0)
    out: list[Example] = []
    for group in groups.values():
        count = 1 if task.labels else min(WITHOUT_LABELS, len(group))
        mine = vectors[group].sum(0)
        others = (every - mine) / max(1, len(texts) - len(group))
        like = (vectors @ (mine / len(group) - others).T).A1
        by_length = sorted(group, key=lambda i: (len(texts[i] + (task.train[i].context or "")), i))
        brief = by_length[: max(3 * count, len(group) // 3)]
        best = sorted(brief, key=lambda i: (-float(like[i]), i))[: 3 * count]
        out += [task.train[i] for i in draw.sample(best, count)]
    draw.shuffle(out)
    return out


def _embedded(session: Session, ids: Sequence[int]) -> torch.Tensor:
    # Not rows of the table: some families scale them.
    with torch.no_grad():
        return session.embed(torch.tensor(list(ids), device=session.device)).float()
