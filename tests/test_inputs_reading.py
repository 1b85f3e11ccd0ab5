"""Labels that look alike are told apart in a generated text, and chatty answers are still read."""

from __future__ import annotations

import pytest

from luthier.content import Response
from luthier.models.label_reading import parse_label
from luthier.models.parsing import voted
from luthier.models.prompt import PromptFormat

pytestmark = pytest.mark.inputs

CASES = [
    (("C", "C++", "C#"), [("C++", "C++"), ("C#.", "C#"), ("c", "C"), ("It is C++.", "C++"),
                          ("C#!\nbecause", "C#"), ("I think it is C", "C")]),
    (("C", "Java"), [("C++", None), ("It is C#", None), ("it's C", "C")]),
    (("-1", "1", "0"), [("-1", "-1"), ("\u22121", "-1"), ("The answer is -1.", "-1"),
                        ("Score: 1", "1"), ("(1)", "1"), ("10", None)]),
    (("1", "2"), [("-1", None), ("1.5", None), ("Rating: 2/5", "2")]),
    (("+", "-", "="), [("+", "+"), (" - ", "-"), ("=", "="), ('The sign is "+".', "+"),
                       ("**-**", "-"), ("- I do not know", None)]),
    (("😀", "😡"), [("😀", "😀"), ("I say 😡!", "😡")]),
    ((":)", ":("), [(":)", ":)"), ('":("', ":("), ("I say :(", None)]),
    (("O+", "O-", "O"), [("O+", "O+"), ("Type O- it is", "O-"), ("o", "O")]),
    (("1.0", "10"), [("1.0.", "1.0"), ("10", "10")]),
    (("दिन", "दान"), [("दिन", "दिन"), ("उत्तर: दान।", "दान")]),
    (("café", "cafe"), [("cafe\u0301", "café"), ("cafe", "cafe"), ("Café", "café")]),
    (("满意", "不满意"), [("答案是不满意。", "不满意"), ("我觉得满意", "满意")]),
    (("はい", "いいえ"), [("はいです", "はい"), ("答え：いいえ", "いいえ")]),
    (("US", "us"), [("US", "US"), ("us.", "us"), ("Us", None), ("It is US", "US")]),
    (("a_b", "a-b"), [("a_b", "a_b"), ("a-b", "a-b"), ("a b", None)]),
    (("refund", "refund refused"), [("Refund refused.", "refund refused"), ("refund", "refund"),
                                    ("The refund refused label", "refund refused")]),
    (("card_arrival", "card_lost"), [("card arrival", "card_arrival"), ("Card-Lost!", "card_lost"),
                                     ("it is card arrival, I think", "card_arrival")]),
    (("billing", "delivery"), [
        ("Sure! Here is the label:\n\nbilling", "billing"),
        ("Either billing or delivery.\nAnswer: delivery", "delivery"),
        ("Let me think.\nIt is about billing.", "billing"),
        ("billing or delivery?", None), ("the billings", None), ("`billing`", "billing"),
        ("Label: billing", "billing"), ("", None), ("\n", None),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "text", "label"), [(names, *case) for names, cases in CASES for case in cases]
)
def test_a_label_is_read_exactly_first(labels, text, label):
    assert parse_label(text, labels, PromptFormat()) == label


@pytest.mark.parametrize("labels", [names for names, _ in CASES])
def test_every_label_is_read_as_itself(labels):
    for label in labels:
        for text in (label, f"{label}\n", f"  {label}"):
            assert parse_label(text, labels, PromptFormat()) == label


def test_a_label_that_is_shown_in_words_is_read_in_words():
    form = PromptFormat(label_style="words")
    labels = ("card_arrival", "card-lost", "a_b", "a-b")
    assert parse_label("card arrival", labels, form) == "card_arrival"
    assert parse_label("It is card lost", labels, form) == "card-lost"
    assert parse_label("a b", labels, form) is None  # the prompt shows two labels so


@pytest.mark.parametrize(
    ("said", "labels", "winner"),
    [
        (("C#", "C++", "C++"), True, "C++"),
        (("US", "us", "us"), True, "us"),
        (("-5", "5", "5"), False, "5"),
        (("3.14", "314", "314"), False, "314"),
        (("Paris.", "Rome", "paris"), False, "Paris."),
        (("दिन", "दान", "दान"), False, "दान"),
    ],
)
def test_votes_for_different_answers_are_not_counted_together(said, labels, winner):
    answers = [Response(text, text, True) for text in said]
    assert voted(answers, labels=labels).parsed == winner
