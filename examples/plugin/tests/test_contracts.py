"""What Luthier asks of every technique, scorer and backend, asked of ours."""

from __future__ import annotations

import pytest
from luthier_keywords.first_word import first_word
from luthier_keywords.keyword_backend import KeywordBackend
from luthier_keywords.label_words import LabelWords

from luthier import ModelError
from luthier.testing import check_backend, check_scorer, check_technique

RULES = {"delivery": ["parcel"], "billing": ["pay", "charged"], "account access": ["password"]}


def test_label_words():
    fitted = check_technique(LabelWords(counts=(3,)))  # on the fake model and a bundled task
    assert "label-words" in str(fitted.lineage)


def test_first_word():
    check_scorer(first_word)
    assert first_word("Yes, within 30 days.", "yes") == 1.0
    assert first_word("No.", "yes") == first_word("", "yes") == 0.0


def test_keywords(tmp_path):
    check_backend(KeywordBackend("keywords:here", RULES))
    with pytest.raises(ModelError, match="cannot be read"):
        KeywordBackend.open(f"keywords:{tmp_path / 'none.yaml'}")
