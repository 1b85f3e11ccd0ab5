"""What a message says where a library of an extra is missing."""

from __future__ import annotations

import pytest

from luthier.errors import ModelError, UserError, from_extra


def test_a_missing_library_is_told_with_the_extra_that_brings_it() -> None:
    with (
        pytest.raises(UserError, match="sql needs SQLAlchemy") as caught,
        from_extra("tools", "sql needs SQLAlchemy"),
    ):
        import no_such_library_at_all
    assert caught.value.next_step == "pip install 'luthier[tools]'"
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(ModelError), from_extra("rag", "it needs it", kind=ModelError):
        import no_such_library_at_all  # noqa: F401


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(KeyError), from_extra("tools", "it needs it"):
        raise KeyError("x")
