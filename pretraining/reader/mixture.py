"""What the reader learns from: nano's episodes in other shares, each with one answer at its end.

A prompt is read once for one answer, so prompts are short more often than long, and a passage comes
with one question. Three kinds are the reader's own: long lists of labels without demonstrations,
real intents with demonstrations, and sentences of reviews whose authors' verdict is known.
"""

from __future__ import annotations

import random
from pathlib import Path

from pretraining import teacher
from pretraining.episodes import Episode, Mixture, Piece, Pools
from pretraining.episodes.classes import FEELING_NAMES
from pretraining.episodes.classify import as_chat, classification
from pretraining.episodes.formats import draw_format
from pretraining.episodes.reading import paragraphs
from pretraining.texts import lexicon

FEELINGS = ("positive", "negative", "neutral")
REVIEWS = ("review", "film review", "text", "comment", "product review", "message")
REVIEW_INSTRUCTIONS = [
    "Classify the sentiment.",
    "Is the {x} positive or negative?",
    "What does the writer feel?",
    "Classify the sentiment of the {x}.",
    "What is the sentiment of the {x}?",
    "Say whether the {x} is favourable.",
    None,
]


class ReaderMixture(Mixture):
    """Draws episodes for an encoder–decoder; ``progress`` as for the causal model."""

    def __init__(self, pools: Pools, out: Path) -> None:
        super().__init__(pools)
        self.reviews = reviews(pools, out)

    def shares(self, progress: float) -> dict[str, float]:
        """Share of each family, in episodes."""
        early = max(0.0, 1 - progress / 0.15)
        late = min(1.0, max(0.0, (progress - 0.4) / 0.1))  # labels come first, reading later
        return {
            "classification": 0.3 - 0.08 * late,
            "shown": 0.1,
            "wide": 0.08,
            "review": 0.22,
            "induction": 0.03 * early,
            "look-up": 0.03,
            "rule": 0.015,
            "arithmetic": 0.005,
            "tool": 0.08 + 0.03 * late,
            "slot call": 0.04,
            "slot question": 0.03,
            "facts": 0.02,
            "extract": 0.01,
            "reading": 0.16 + 0.08 * late,
            "natural": 0.06 + 0.04 * late,
            "asked": 0.02,
            "prompted": 0.05,
            "reply": 0.02,
        }

    def characters(self, draw: random.Random, progress: float) -> int:
        """Length budget of a classification episode."""
        if progress < 0.1:
            return draw.choice([200, 300, 500])
        lengths = [200, 400, 600, 900, 1300, 1900, 2600, 3000]
        return draw.choices(lengths, [4, 4, 5, 5, 5, 5, 4, 2])[0]

    def passage(self, draw: random.Random, progress: float) -> int:
        """Length of a passage, in characters."""
        return draw.choice([150, 250] if progress < 0.1 else [150, 250, 400, 600, 850])

    def draw(self, draw: random.Random, progress: float) -> Episode:
        """The next episode."""
        pools, shares = self.pools, self.shares(progress)
        kind = draw.choices(list(shares), list(shares.values()))[0]
        if kind == "classification":
            budget = self.characters(draw, progress)
            episode = classification(pools, draw, progress, budget, usual=0.5)
            return as_chat(episode) if draw.random() < 0.05 else episode
        if kind == "shown":
            n, budget = draw.randint(3, 8), draw.choice([500, 900, 1300, 1700, 2200, 2800])
            return classification(
                pools, draw, progress, budget, classes=n, usual=0.6, kind="intents"
            )
        if kind == "wide":
            return self.wide(draw, progress)
        if kind == "review":
            return self.review(draw)
        if kind == "reading":
            return paragraphs.cloze(pools, draw, self.passage(draw, progress), single=True)
        if kind == "natural":
            return paragraphs.natural(pools, draw, self.passage(draw, progress))
        if kind == "reply":
            return reply(pools, draw)
        return self.made(kind, draw, progress)

    def wide(self, draw: random.Random, progress: float) -> Episode:
        """Up to two dozen classes with telling names, and a text to be told apart; no examples."""
        most = 10 if progress < 0.2 else 24
        while True:
            n = draw.randint(6, most)
            episode = classification(
                self.pools, draw, progress, 400, classes=n, usual=0.6, telling=True
            )
            if episode.kind.endswith(".zero"):
                return Episode("wide", episode.pieces, episode.ends)

    def review(self, draw: random.Random) -> Episode:
        """One to three texts that praise, blame or, among headlines, do neither; the last one is to
        be judged. Mostly under the plain names: a feeling is a fine difference, and learnt late."""
        kind = draw.choices(["review", "made", "headline", "other"], [0.35, 0.3, 0.15, 0.2])[0]
        three = kind == "headline" or (kind == "made" and draw.random() < 0.3)
        names = FEELING_NAMES[0] if draw.random() < 0.6 else draw.choice(FEELING_NAMES)
        labels = list(names[: 3 if three else 2])
        draw.shuffle(labels)
        x = "headline" if kind == "headline" else draw.choice(REVIEWS)
        told = draw.choice(REVIEW_INSTRUCTIONS)
        shape = draw_format(
            draw, labels, listed=True, instruction=told and told.format(x=x), usual=0.6
        )
        pieces = [Piece(t, tag=k, due=False) for t, k in shape.head if t]
        shown = draw.choice([1, 1, 1, 1, 2, 3])
        for i in range(shown):
            text, feeling = self.felt(draw, kind, three)
            name = names[FEELINGS.index(feeling)]
            lead = shape.between if i else ""
            pieces += [
                Piece(f"{lead}{shape.before}{text}{shape.cue}"),
                Piece(f" {name}", 1.0 if i + 1 == shown else 0.0, tag=labels.index(name)),
            ]
        return Episode("review", pieces)

    def felt(self, draw: random.Random, kind: str, three: bool) -> tuple[str, str]:
        """A text and its feeling."""
        if kind in ("headline", "made"):
            make = lexicon.headline if kind == "headline" else lexicon.feeling
            while True:
                text, feeling = make(draw)
                if three or feeling != "neutral":
                    return text, feeling
        good = draw.random() < 0.5
        feeling = FEELINGS[not good]
        if kind == "review":
            return draw.choice(self.reviews[good]), feeling
        rows = self.pools.happy if good else self.pools.unhappy
        return self.pools.texts[draw.choice(rows)][:240], feeling


def reviews(pools: Pools, out: Path) -> dict[bool, list[str]]:
    """Sentences of reviews by whether the review praises; only such as can be told by themselves:
    a linear reader of their vectors agrees."""
    known = teacher.review_labels(out)
    found: dict[bool, list[str]] = {True: [], False: []}
    for i, text in enumerate(pools.texts):
        good = known.get(text)
        if good is not None and (pools.feelings[i] if good else 1 - pools.feelings[i]) > 0.7:
            found[good].append(text)
    return found


def reply(pools: Pools, draw: random.Random) -> Episode:
    """A dialogue and its next turn."""
    while True:
        row = draw.choice(pools.documents)
        lines = row["text"].split("\n")
        if row["kind"] == "dialogue" and len(lines) > 3:
            break
    turns = [i for i, line in enumerate(lines) if i and not line.startswith("User: ")]
    at = draw.choice(turns or [len(lines) - 1])
    before = lines[max(0, at - draw.choice([1, 3, 5])) : at]
    role, _, said = lines[at].partition(": ")
    if draw.random() < 0.5:
        pieces = []
        for line in before:
            who, _, text = line.partition(": ")
            pieces.append(Piece(f"<|{'user' if who == 'User' else 'assistant'}|>\n{text}<|end|>\n"))
        pieces.append(Piece("<|assistant|>\n"))
    else:
        pieces = [Piece("\n".join(before) + f"\n{role}:")]
    return Episode("reply", [*pieces, Piece(said, 0.5)])
