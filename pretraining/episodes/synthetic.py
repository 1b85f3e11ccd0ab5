"""Generated tasks: copy, look up, follow a shown rule, add and subtract."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from pretraining.episodes.piece import Episode, Piece
from pretraining.episodes.pools import Pools
from pretraining.texts.lexicon import listed

NAMES = listed(
    "Anna Ben Carla David Elena Farid Grace Hugo Irene Jonas Karin Liam Maya Nora Omar Paula "
    "Quinn Rosa Samir Tara Umar Vera Walter Xenia Yusuf Zoe Alice Bruno Chloe Dmitri"
)
PLACES = listed(
    "Paris London Berlin Tokyo Madrid Oslo Cairo Lima Rome Boston Chicago Dublin Vienna Prague "
    "Athens Delhi Sydney Toronto Nairobi Seoul"
)


def induction(pools: Pools, draw: random.Random) -> Episode:
    """Pairs of words that come back: the second of a pair can be copied."""
    n = draw.randint(2, 8)
    keys, values = draw.sample(pools.words, n), draw.sample(pools.words, n)
    mark = draw.choice([" -> ", ": ", " = ", " is ", ", "])
    end = draw.choice(["\n", "\n", "; ", "\n\n"])
    order = list(range(n)) + [draw.randrange(n) for _ in range(draw.randint(n, 3 * n))]
    seen: set[int] = set()
    pieces = []
    for i in order:
        pieces.append(Piece(keys[i] + mark.rstrip(" ")))
        pieces.append(Piece(" " + values[i], 1.0 if i in seen else 0.0, tag=i))
        pieces.append(Piece(end, 0.05))
        seen.add(i)
    return Episode("induction", pieces, False)


def look_up(pools: Pools, draw: random.Random) -> Episode:
    """A small table, then questions about it; sometimes the key is not there."""
    n = draw.randint(2, 8)
    keys = draw.sample(draw.choice([NAMES, PLACES, pools.words]), n)
    values = draw.choice(
        [
            lambda: str(draw.randint(10, 9999)),
            lambda: draw.choice(pools.words),
            lambda: " ".join(draw.sample(pools.words, 2)),
            lambda: draw.choice(PLACES),
        ]
    )
    table = {k: values() for k in keys}
    mark = draw.choice([": ", " = ", " - ", " has "])
    text = "\n".join(f"{k}{mark}{v}" for k, v in table.items())
    if draw.random() < 0.2:
        text = json.dumps(table)
    pieces = [Piece(draw.choice(["", "Look up the value.\n\n", "Data:\n"]) + text + "\n\n")]
    ask = draw.choice(
        [
            "Question: {k}?\nAnswer:",
            "What is the value of {k}?\nAnswer:",
            "{k}:",
            "Q: {k}\nA:",
            "Key: {k}\nValue:",
        ]
    )
    none = draw.choice(["not in the table", "unknown", "none"]) if draw.random() < 0.3 else None
    if none:
        pieces.insert(0, Piece(f'If it is not there, answer "{none}".\n'))
    for _ in range(draw.randint(1, 4)):
        if none and draw.random() < 0.3:
            k, v = draw.choice(pools.words), none
            v = table.get(k, none)
        else:
            k, v = draw.choice(list(table.items()))
        pieces += [Piece(ask.format(k=k)), Piece(f" {v}", 1.0), Piece("\n", 0.3)]
    return Episode("look-up", pieces)


RULES: dict[str, Callable[[list[str]], str]] = {
    "Write the first word.": lambda w: w[0],
    "Write the last word.": lambda w: w[-1],
    "Write the second word.": lambda w: w[1],
    "Write the words in reverse order.": lambda w: " ".join(reversed(w)),
    "Write it in upper case.": lambda w: " ".join(w).upper(),
    "Capitalise every word.": lambda w: " ".join(w).title(),
    "Repeat the text.": lambda w: " ".join(w),
    "Join the words with underscores.": lambda w: "_".join(w),
    "Write the text twice.": lambda w: " ".join(w + w),
    "Count the words.": lambda w: str(len(w)),
    "Drop the first word.": lambda w: " ".join(w[1:]),
    "Write the longest word.": lambda w: max(w, key=len),
    "Put the words in brackets.": lambda w: "(" + " ".join(w) + ")",
}


def rule(pools: Pools, draw: random.Random) -> Episode:
    """A rule over short lists of words, told, shown, or both."""
    told, function = draw.choice(list(RULES.items()))
    tell = draw.random() < 0.6
    x, y = draw.choice([("Input", "Output"), ("Text", "Answer"), ("Q", "A"), ("In", "Out")])
    pieces = [Piece(told + "\n\n")] if tell else []
    for i in range(draw.randint(1, 6) if tell else draw.randint(3, 7)):
        w = draw.sample(pools.words, draw.randint(2, 4))
        pieces += [
            Piece(f"{x}: {' '.join(w)}\n{y}:"),
            Piece(" " + function(w), 1.0 if tell or i else 0.2),
            Piece("\n\n", 0.15),
        ]
    return Episode("rule", pieces)


def arithmetic(pools: Pools, draw: random.Random) -> Episode:
    """Sums and differences of small numbers, written or told."""
    pieces = []
    for _ in range(draw.randint(1, 5)):
        a, b = draw.randint(0, 20), draw.randint(0, 20)
        plus = draw.random() < 0.6
        if not plus and a < b:
            a, b = b, a
        c = a + b if plus else a - b
        style = draw.random()
        if style < 0.5:
            ask = f"{a} {'+' if plus else '-'} {b} ="
        elif plus:
            ask = f"{draw.choice(NAMES)} has {a} apples and buys {b} more. How many now?\nAnswer:"
        else:
            ask = f"{draw.choice(NAMES)} had {a} apples and ate {b}. How many are left?\nAnswer:"
        pieces += [Piece(ask), Piece(f" {c}", 0.6), Piece("\n", 0.3)]
    return Episode("arithmetic", pieces)
