"""Text in pieces is trimmed and stopped as the whole text is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from luthier.models.pieces import stripped, until_stop

PIECES = st.lists(st.text(" \nab#", max_size=4), max_size=8)


@given(PIECES)
def test_stripped_is_strip(pieces: list[str]) -> None:
    found = list(stripped(pieces))
    assert "".join(found) == "".join(pieces).strip()
    assert all(found)


@given(PIECES, st.lists(st.text("\nab#", min_size=1, max_size=3), max_size=3))
def test_until_stop_cuts_where_the_whole_text_would_be_cut(
    pieces: list[str], stops: list[str]
) -> None:
    text = "".join(pieces)
    first = min((text.find(stop) for stop in stops if stop in text), default=len(text))
    found = list(until_stop(pieces, stops))
    assert "".join(found) == text[:first]
    assert all(found)


def test_a_piece_is_passed_on_at_once_where_nothing_can_stop_in_it() -> None:
    pieces = iter(["one", " two", "\n", "three"])
    stream = until_stop(pieces, ["\n\n"])
    assert next(stream) == "one"
    assert list(pieces) == [" two", "\n", "three"], "nothing was read ahead"
