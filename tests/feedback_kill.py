"""A process that stores opinions until it is killed; it prints the key of each that is accepted."""

from __future__ import annotations

import sys

from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import Opinion


def main(path: str) -> None:
    store = FeedbackStore(path)
    items = store.items()
    for number in range(1_000_000):
        item = items[number % len(items)]
        who = f"person {number // len(items)}"
        first, second = (a.id for a in item.answers)
        opinion = Opinion(
            f"k{number}", item.id, "preference", who, answer=first, other=second, grade="better"
        )
        store.add_opinion(opinion)
        print(opinion.key, flush=True)


main(sys.argv[1])
