"""Citations: numbers that exist, passages that hold what is said, and the exact place."""

from __future__ import annotations

from luthier.models.rag.citations import check_citations, is_abstention, support, without_citations
from luthier.retrieval import Hit, Passage

FIRST = Passage(
    "a", "The bridge was opened in 1894. It is 40 metres high.", "guide.pdf", 100, 153, 3
)
SECOND = Passage("b", "Tolls were abolished by Queen Maud after the war.", "law.md", 0, 49)
HITS = [Hit(FIRST, 0.9, 1), Hit(SECOND, 0.5, 2)]


def test_a_citation_is_followed_to_its_place() -> None:
    result = check_citations("1894 [1]", HITS)
    (found,) = result.citations
    assert (result.text, result.supported, found.explicit, found.supports) == (
        "1894",
        True,
        True,
        True,
    )
    assert FIRST.text[found.start - 100 : found.end - 100] == "1894"
    assert found.place == "guide.pdf, page 3, characters 125–129"


def test_a_citation_of_the_wrong_passage_does_not_support_and_the_right_one_is_added() -> None:
    result = check_citations("Queen Maud [1]", HITS)
    assert result.supported
    assert [(c.number, c.supports, c.explicit) for c in result.citations] == [
        (1, False, True),
        (2, True, False),
    ]
    assert not check_citations("Queen Anne [1]", HITS[:1]).supported


def test_numbers_without_a_passage_are_named() -> None:
    result = check_citations("It was opened in 1894 [1, 7].", HITS)
    assert result.unknown == (7,)
    assert result.supported


def test_an_answer_without_marks_is_given_the_passage_that_holds_it() -> None:
    result = check_citations("queen maud", HITS)
    (found,) = result.citations
    assert (found.number, found.explicit, found.supports) == (2, False, True)
    assert SECOND.text[found.start : found.end] == "Queen Maud"


def test_every_sentence_needs_support() -> None:
    assert check_citations(
        "It was opened in 1894 [1]. Tolls were abolished by Queen Maud [2].", HITS
    ).supported
    result = check_citations("It was opened in 1894 [1]. Dragons guarded the northern gate.", HITS)
    assert not result.supported
    assert [c.number for c in result.citations] == [1]


def test_an_abstention_claims_nothing() -> None:
    result = check_citations("Not in the documents.", HITS)
    assert result.abstains
    assert result.citations == ()
    assert not is_abstention("It is in the documents")


def test_marks_are_taken_out_and_brackets_of_code_stay() -> None:
    assert without_citations("Use x[i] and so on [1][2, 3].") == "Use x[i] and so on."


def test_support_counts_telling_words() -> None:
    assert support("the and of", FIRST.text) == 0.0
    assert support("opened 1894 by Napoleon", FIRST.text) == 2 / 3
    assert support("It is", FIRST.text) == 0.0, "it stands there, and says nothing"
    assert not check_citations(
        "the", [Hit(Passage("c", "on the way", "d", 0, 10), 1.0, 1)]
    ).supported
    assert support("894", FIRST.text) == 0.0, "whole words only"
