"""A scripted preference: polite, under 30 words, names a queue. It plays a person in the demo, and
is labelled simulated wherever its opinions are shown."""

from __future__ import annotations

QUEUES = (
    "account access", "billing", "complaints", "delivery", "partnership and press",
    "product advice", "refunds and returns", "technical fault",
)  # fmt: skip
POLITE = ("thank you", "thanks for", "sorry", "please")
MOST_WORDS = 30


def taste(question: str, answer: str) -> float:
    """A third for each of the three."""
    text = answer.lower()
    polite = any(word in text for word in POLITE)
    named = any(queue in text for queue in QUEUES)
    short = 0 < len(text.split()) < MOST_WORDS
    return (polite + named + short) / 3
