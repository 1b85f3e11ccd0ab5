"""Near-duplicates across splits: what is one, what only looks like one."""

from __future__ import annotations

import random

import pytest

from luthier.records import Example
from luthier.task.leaks import LeakReport, check_leaks
from luthier.task.near_duplicates import (
    NEAR_SHORT,
    Forms,
    NearIndex,
    character_shingles,
    jaccard,
    plain,
)

SENTENCE = (
    "my new card was sent to the wrong address and the bank says that it cannot stop it or "
    "send another one before the end of next week"
)
FILLER = (
    "lamp", "river", "seven", "violet", "engine", "market", "cousin", "paper", "bridge", "winter",
    "signal", "copper", "garden", "letter", "orange", "planet", "button", "silver", "thunder",
    "window", "candle", "fabric", "hammer", "island", "jacket", "kettle", "ladder", "mirror",
)  # fmt: skip


def found(train: str, test: str, *, targets: tuple[str, str] = ("a", "a"), labels: bool = True,
          others: list[tuple[str, str]] | None = None) -> LeakReport:  # fmt: skip
    """The report on one text in train, one in test, and other texts in train."""
    some = [Example(f"o{n}", text, target) for n, (text, target) in enumerate(others or [])]
    splits = {
        "train": [Example("train", train, targets[0]), *some],
        "dev": [],
        "test": [Example("test", test, targets[1])],
    }
    _, report = check_leaks(splits, drop=True, labels=labels)
    return report


@pytest.mark.parametrize(
    "twin",
    [
        SENTENCE.replace("wrong", "old"),
        SENTENCE.replace("next", "this"),
        SENTENCE.replace("cannot", "can not"),
        SENTENCE.replace("address", "adress"),
        SENTENCE + ", please help",
        "Hi, " + SENTENCE,
        SENTENCE.removeprefix("my "),
        SENTENCE.replace(" and ", ". And "),
        SENTENCE.title() + "!!",
        SENTENCE.replace(" ", "\n"),
    ],
)
def test_a_word_changed_in_a_short_text_is_seen(twin: str) -> None:
    assert len(SENTENCE.split()) < 30
    report = found(twin, SENTENCE)
    assert report.near + report.exact == 1
    assert report.samples[0].found_id == "test"


@pytest.mark.parametrize(
    "other",
    [
        "my new card was sent to the right person and works, thank you all for the quick help",
        "the bank says that the transfer cannot be stopped before the end of next week",
        " ".join(reversed(SENTENCE.split())),
        "when will the branch in my town open again after the holidays",
    ],
)
def test_a_text_on_the_same_matter_is_none(other: str) -> None:
    assert found(other, SENTENCE).near == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tell me how much is left then: 14 + 3 =", "tell me how much is left then: 14 - 3 ="),
        ("well that was a day at work again 😀", "well that was a day at work again 😡"),
        ("यह किताब मेरी है और वह लड़का वहाँ बैठा है", "यह किताब मेरी है और वह लड़की वहाँ बैठा है"),
        ("the parcel came on time and was not broken", "the parcel came on time and was broken"),
        ("is x < y when both of them are positive?", "is x > y when both of them are positive?"),
    ],
)  # fmt: skip
def test_a_sign_that_decides_the_label_is_no_duplicate(one: str, other: str) -> None:
    assert found(one, other, targets=("yes", "no")).near == 0
    assert found(one, other, targets=("yes", "yes")).near == 1, "the same answer: a twin"


@pytest.mark.parametrize(("one", "other", "near"), [
    ("17", "11", 0),
    ("He lives in Paris with his two sons.", "He lives in Paris with two sons.", 1),
    ("Returns the name of the host.", "Closes every open socket.", 0),
])  # fmt: skip
def test_free_answers_play_a_part_too(one: str, other: str, near: int) -> None:
    assert found(SENTENCE, SENTENCE + " now", targets=(one, other), labels=False).near == near


def test_a_heading_that_all_texts_share_makes_no_duplicates() -> None:
    heading = (
        "Ticket from the web form. Dear team, thank you for taking the time to read this message. "
        "The customer has agreed to the terms and to the processing of personal data. Message: "
    )
    dice = random.Random(0)
    splits = {
        part: [
            Example(f"{part}{n}", heading + " ".join(dice.sample(FILLER, 6)), "ab"[n % 2])
            for n in range(count)
        ]
        for part, count in (("train", 60), ("dev", 20), ("test", 20))
    }
    kept, report = check_leaks(splits, drop=True, labels=True)
    assert report.near == report.exact == 0
    assert [len(kept[part]) for part in ("train", "dev", "test")] == [60, 20, 20]
    twin = Example("twin", splits["test"][0].text + " again", splits["test"][0].target)
    _, report = check_leaks({**splits, "train": [*splits["train"], twin]}, drop=True, labels=True)
    assert report.samples[0].example_id == "twin", "what stands below the heading decides"
    assert report.near == 1


def test_words_around_a_slot_make_no_duplicates() -> None:
    texts = [f"what is the status of item {n * 7919:06x} in the warehouse" for n in range(100)]
    some = [Example(str(n), text, "status") for n, text in enumerate(texts)]
    _, report = check_leaks(
        {"train": some[:60], "dev": some[60:80], "test": some[80:]}, drop=True, labels=True
    )
    assert report.near == 0


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("お客様の新しいカードは先週の月曜日に発送されましたがまだ届いていません助けてください",
         "お客様の新しいカードは先週の火曜日に発送されましたがまだ届いていません助けてください", 1),
        ("บัตรใหม่ของฉันถูกส่งไปผิดที่อยู่และธนาคารบอกว่าหยุดไม่ได้ในสัปดาห์นี้",
         "บัตรใหม่ของฉันถูกส่งไปผิดที่อยู่และธนาคารบอกว่าหยุดไม่ได้ในสัปดาห์หน้า", 1),
        ("DE89370400440532013000", "DE89370400440532013001", 0),
        ("code 4711 now", "code 4712 now", 0),
    ],
)  # fmt: skip
def test_scripts_without_spaces_and_short_codes(one: str, other: str, near: int) -> None:
    assert found(one, other).near == near


@pytest.mark.parametrize("words", [55, 60, 61, 70, 74, 150, 199])
def test_texts_on_both_sides_of_the_border_compare(words: int) -> None:
    dice = random.Random(words)
    text = " ".join(dice.choices(FILLER, k=words))
    assert found(text + " indeed", text).near == 1
    assert found(text, text + " indeed").near == 1
    assert found(" ".join(dice.choices(FILLER, k=words)), text).near == 0


def test_the_prefix_filter_misses_nothing() -> None:
    dice = random.Random(0)
    texts = [" ".join(dice.choices(FILLER, k=dice.randint(4, 14))) for _ in range(120)]
    for text in texts[:60]:
        changed = text.split()
        changed[-1] = dice.choice(FILLER)
        texts.append(" ".join([*changed, *dice.choices(FILLER, k=dice.randint(0, 1))]))
    forms = Forms([])
    known = texts[90:]
    index = NearIndex([forms.body(text) for text in known])
    pairs = 0
    for text in texts[:90]:
        body = forms.body(text)
        assert body is not None
        shingles = character_shingles(plain(text))
        truly = {
            n for n, other in enumerate(known)
            if jaccard(shingles, character_shingles(plain(other))) >= NEAR_SHORT
        }  # fmt: skip
        assert set(index.find(body)) == truly
        pairs += len(truly)
    assert pairs > 10
