"""Small checks that need no knowledge, drawn by a program: the same seed gives the same items.

Words are made up, so that none of it can have been learnt by heart. Where an item has `choices` one
of them is right and guessing is right in `1 / len(choices)`; without choices the answer is written
freely, and guessing is never right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from luthier.models.prompt import Demonstration

SHOWN = 4  # demonstrations
_SOUNDS = ("ba", "do", "fe", "gi", "ku", "lo", "mi", "na", "pe", "ra", "so", "ti", "vu", "wa", "zo")
_COLOURS = ("red", "blue", "green", "black", "white", "yellow")
_THINGS = ("box", "door", "cup", "hat", "chair", "car", "lamp", "bag")


@dataclass(frozen=True, slots=True)
class SkillItem:
    """A question, its answer, the choices (none: free text), and where in a long text it stands."""

    question: str
    answer: str
    choices: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class SkillCheck:
    """Items of one kind with an instruction and demonstrations."""

    name: str
    instruction: str
    shown: tuple[Demonstration, ...]
    items: tuple[SkillItem, ...]

    @property
    def chance(self) -> float:
        """The share of right answers by guessing."""
        return sum(1 / len(i.choices) if i.choices else 0.0 for i in self.items) / len(self.items)


def skill_checks(items: int, *, seed: int, long_words: int) -> tuple[SkillCheck, ...]:
    """All checks, of so many items each; `long_words` is the length of the long text in words."""
    makers: tuple[tuple[str, str, Callable[[random.Random], SkillItem]], ...] = (
        ("format", "Write the name and the number in the given form.", _format),
        ("copy", "Repeat the words.", _copy),
        ("induction", "", _induction),
        ("order", "Which number is the largest?", _order),
        ("arithmetic", "Calculate.", _arithmetic),
        ("negation", "Answer yes or no.", _negation),
    )
    found = [
        _drawn(name, instruction, maker, items=items, seed=seed)
        for name, instruction, maker in makers
    ]
    rng = random.Random(f"{seed} long context")
    places = ("beginning", "middle", "end")
    items_in_long = tuple(_long(rng, places[i % len(places)], long_words) for i in range(items))
    asked = "Find the code in the text."
    return (*found, SkillCheck("long context", asked, (), items_in_long))


def _drawn(
    name: str, instruction: str, maker: Callable[[random.Random], SkillItem], *,
    items: int, seed: int,
) -> SkillCheck:  # fmt: skip
    rng = random.Random(f"{seed} {name}")
    distinct: dict[str, SkillItem] = {}
    while len(distinct) < items + SHOWN:
        item = maker(rng)
        distinct.setdefault(item.question, item)
    drawn = list(distinct.values())
    shown = [Demonstration(item.question, item.answer) for item in _balanced(drawn)]
    asked = [item for item in drawn if item.question not in {d.input for d in shown}]
    return SkillCheck(name, instruction, tuple(shown), tuple(asked[:items]))


def _balanced(items: list[SkillItem]) -> list[SkillItem]:
    """The items to show: each answer in turn where there are but a few."""
    answers = list(dict.fromkeys(item.answer for item in items))
    if len(answers) > SHOWN:
        return items[:SHOWN]
    queues = [[item for item in items if item.answer == answer] for answer in answers]
    return [queues[i % len(queues)][i // len(queues)] for i in range(SHOWN)]


def _word(rng: random.Random) -> str:
    return "".join(rng.sample(_SOUNDS, rng.choice((2, 3))))


def _format(rng: random.Random) -> SkillItem:
    name, number = _word(rng).capitalize(), rng.randrange(10, 99)
    question = rng.choice((f"{name} has number {number}", f"number {number} is {name}"))
    return SkillItem(question, f"[{name}|{number}]")


def _copy(rng: random.Random) -> SkillItem:
    words = " ".join(_word(rng) for _ in range(3))
    return SkillItem(words, words)


def _induction(rng: random.Random) -> SkillItem:
    """The rule, which is only shown: two equal words are "dax", others "wug"."""
    first, second = _word(rng), _word(rng)
    same = rng.random() < 0.5
    second = first if same else second
    answer = "dax" if first == second else "wug"
    return SkillItem(f"{first} {second}", answer, ("dax", "wug"))


def _order(rng: random.Random) -> SkillItem:
    numbers = [str(n) for n in rng.sample(range(10, 100), 3)]
    return SkillItem(", ".join(numbers), max(numbers), tuple(numbers))


def _arithmetic(rng: random.Random) -> SkillItem:
    first, second = rng.randrange(2, 20), rng.randrange(2, 20)
    adds = rng.random() < 0.5 or second > first
    value = first + second if adds else first - second
    others = rng.sample([n for n in range(max(0, value - 4), value + 5) if n != value], 3)
    choices = [str(n) for n in (value, *others)]
    rng.shuffle(choices)
    return SkillItem(f"{first} {'+' if adds else '-'} {second}", str(value), tuple(choices))


def _negation(rng: random.Random) -> SkillItem:
    thing, (colour, other) = rng.choice(_THINGS), rng.sample(_COLOURS, 2)
    about = rng.choice((colour, other))
    facts = [f"The {thing} is {colour}", f"it is not {other}"]
    said = f"{facts[0]}, and {facts[1]}."
    if rng.random() < 0.5:
        said = f"The {thing} is not {other}; it is {colour}."
    return SkillItem(
        f"{said} Is the {thing} {about}?", "yes" if about == colour else "no", ("yes", "no")
    )


def _long(rng: random.Random, place: str, words: int) -> SkillItem:
    """Lines that give codes to names; one of them is asked for."""
    count = max(4, words // 6)
    names = list(dict.fromkeys(_word(rng) + _word(rng) for _ in range(3 * count)))[:count]
    codes = [str(code) for code in rng.sample(range(1000, 10000), len(names))]
    lines = [f"The code of {n} is {c}." for n, c in zip(names, codes, strict=True)]
    share = {"beginning": 0.05, "middle": 0.5, "end": 0.95}[place]
    row = min(len(names) - 1, int(share * len(names)))
    choices = [codes[row], *rng.sample([c for c in codes if c != codes[row]], 3)]
    rng.shuffle(choices)
    question = " ".join(lines) + f" What is the code of {names[row]}?"
    return SkillItem(question, codes[row], tuple(choices), place)
