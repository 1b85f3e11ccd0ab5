"""Scores of texts in any script, of numbers, and of patterns that would search for ever."""

from __future__ import annotations

import time

import pytest

from luthier.errors import TaskError
from luthier.scoring.resolve import resolve_scorer
from luthier.scoring.scorers import patterns
from luthier.scripts import search_terms, searchable, spaced, words_of

pytestmark = pytest.mark.inputs


@pytest.mark.parametrize(
    ("said", "target"),
    [
        ("3.14", "314"), ("-5", "5"), ("\u22125", "5"), ("C++", "C#"), ("C++", "C"), ("+", "-"),
        ("12:30", "1230"), ("1.000", "1000"), ("O+", "O-"), ("O-", "O"), (".NET", "net"),
        ("1/2", "12"), ("2010-2012", "20102012"), ("10^5", "105"), ("😀", "😡"), ("A", "the"),
        ("दिन", "दान"), ("สวัสดี", "สวสด"), ("x²", "x2"), ("a<b", "a>b"),
    ],
)  # fmt: skip
def test_different_answers_are_no_exact_match(said, target):
    scorer = resolve_scorer("exact-match")
    assert scorer.score(said, target) == 0.0
    assert scorer.score(said, said) == scorer.score(target, target) == 1.0


@pytest.mark.parametrize(
    ("said", "target"),
    [
        ("1,000", "1000"), ("(-5)", "-5"), ("2010–2012", "2010-2012"), ("Ｃ＃", "C#"),
        ("e\u0301te\u0301", "été"), ("“Yes”.", "yes"), ("北京。", "北京"), ("१२।", "१२"),
        ("don’t", "don't"), ("The U.S.", "us"), ("¿Qué?", "qué"), ("مرحبا؟", "مرحبا"),
    ],
)  # fmt: skip
def test_the_same_answer_written_otherwise_is_an_exact_match(said, target):
    assert resolve_scorer("exact-match").score(said, target) == 1.0


# A prediction that shares most of its target, and one that shares nothing with it.
SCRIPTS = {
    "Chinese": ("公司昨天宣布裁员", "公司今天宣布裁员", "气象局"),
    "Japanese": ("コンピュータを買う", "コンピュータを買った", "天気"),
    "Thai": ("สวัสดีครับ", "สวัสดีค่ะ", "เมฆ"),
    "Hindi": ("मेरा दिन अच्छा रहा", "मेरा दिन बहुत अच्छा रहा", "बादल"),
    "Korean": ("날씨가 정말 좋아요", "날씨가 정말 나빠요", "구름"),
    "Arabic": ("الطقس جميل اليوم", "الطقس جميل جدا", "سحاب"),
    "Russian": ("сегодня хорошая погода", "сегодня плохая погода", "лес"),
    "Burmese": ("မင်္ဂလာပါ", "မင်္ဂလာ", "တိမ်"),
}


@pytest.mark.parametrize("name", ["rouge-1", "rouge-l", "token-f1", "bleu", "chrf"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_compared_by_its_words(name, script):
    near, target, far = SCRIPTS[script]
    score = resolve_scorer(name).score
    assert score(target, target) == pytest.approx(1.0)
    assert 0.2 < score(near, target) < 1.0
    assert score(far, target) < score(near, target)


@pytest.mark.parametrize("name", ["rouge-1", "token-f1"])
def test_a_vowel_sign_makes_another_word(name):
    score = resolve_scorer(name).score
    assert score("मेरा दिन", "मेरा दान") == pytest.approx(0.5)
    assert score("😀", "😡") == 0.0


@pytest.mark.parametrize("name", ["rouge-l", "token-f1", "bleu", "chrf", "exact-match", "accuracy"])
def test_the_normal_form_of_a_letter_does_not_count(name):
    assert resolve_scorer(name).score("cafe\u0301 au lait noir", "café au lait noir") == 1.0


def test_bleu_of_chinese_is_that_of_sacrebleu():
    import sacrebleu

    said, target = "公司昨天宣布裁员300人，股价大跌。", "公司今天宣布裁员300人，股价下跌。"
    theirs = sacrebleu.sentence_bleu(said, [target], tokenize="zh").score / 100
    assert resolve_scorer("bleu").score(said, target) == pytest.approx(theirs)


def test_words_and_terms():
    assert words_of("The U.S. it's x2") == ["The", "U", "S", "it", "s", "x2"]
    assert words_of("裁员300人。") == ["裁", "员", "300", "人"]
    assert words_of("می\u200cخواهم 🇩🇪") == ["می\u200cخواهم", "🇩🇪"]
    assert spaced("don't “stop”") == "don't “stop”"
    assert searchable("plain text") == "plain text"
    assert search_terms("退款政策") == ["退", "退款", "款", "款政", "政", "政策", "策"]


@pytest.mark.parametrize(
    ("said", "target", "score"),
    [
        ('{"a": 1.0}', '{"a": 1}', 1.0), ('{"a": 1e3}', '{"a": 1000}', 1.0),
        ('{"a": 1.50}', '{"a": 1.5}', 1.0), ('{"a": -0.0}', '{"a": 0}', 1.0),
        ('{"a": true}', '{"a": 1}', 0.0), ('{"a": "1"}', '{"a": 1}', 0.0),
        ('{"a": 1.01}', '{"a": 1}', 0.0), ('{"a": 1e400}', '{"a": 2}', 0.0),
        ('{"a": [1, 2.0]}', '{"a": [1.0, 2]}', 1.0), ('{"a": "cafe\u0301"}', '{"a": "café"}', 1.0),
    ],
)  # fmt: skip
def test_numbers_in_json_are_compared_as_numbers(said, target, score):
    assert resolve_scorer("json-fields").score(said, target) == score


def test_a_pattern_that_would_search_for_ever_is_an_error(monkeypatch):
    monkeypatch.setattr(patterns, "MOST_SECONDS", 0.2)
    scorer, started = resolve_scorer("regex:(a|aa)+$"), time.perf_counter()
    with pytest.raises(TaskError, match="still searching"):
        scorer.score("a" * 80 + "b", "")
    assert time.perf_counter() - started < 60
    assert scorer.score("aaa", "") == 1.0


@pytest.mark.parametrize(
    ("pattern", "said", "score"),
    [
        (r"^\d{4}$", "2024", 1.0), (r"(?i)paris", "PARIS", 1.0), (r"^\d{4}$", "20245", 0.0),
        (r"colou?r", "color", 1.0), (r"[^\W_]+", "_", 0.0), (r"(?P<y>\d)(?P=y)", "3 44", 1.0),
    ],
)  # fmt: skip
def test_patterns_mean_what_they_mean_in_python(pattern, said, score):
    assert resolve_scorer("regex").score(said, pattern) == score
    assert resolve_scorer(f"regex:{pattern}").score(said, "") == score
