"""Scorers and metrics: agreement with the libraries they stand for, and clear refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier import registry
from luthier.errors import TaskError
from luthier.models.json_reading import read_json
from luthier.records import Example, SampleScore
from luthier.scoring import confusion_matrix, resolve_scorer
from luthier.scoring.scorers.bleu import corpus_bleu, sentence_bleu
from luthier.scoring.scorers.chrf import corpus_chrf, sentence_chrf
from luthier.scoring.scorers.class_labels import macro_f1
from luthier.scoring.scorers.rouge import rouge
from luthier.scoring.scorers.short_answers import normalised
from luthier.scoring.scorers.structured import json_fields

PAIRS = [
    ("the cat sat on the mat", "the cat sat on a mat"),
    ("there is a dog in the garden today", "a dog is in the garden"),
    ("completely different words here now", "nothing shared at all between these"),
    ("", "an empty answer"),
    ("Zürich hat viele schöne Brücken", "Zürich hat viele alte Brücken"),
    ("short", "short"),
]
NAMES = registry.names("scorers")
TEXT = st.text(alphabet="abcd eé.,1", max_size=25)


def sample_scores(pairs: list[tuple[str | None, str]], points: float = 0.0) -> list[SampleScore]:
    return [
        SampleScore(str(i), "in", target, said or "", said, said is not None, points)
        for i, (said, target) in enumerate(pairs)
    ]


def test_every_scorer_a_task_file_may_name_is_there() -> None:
    assert all(resolve_scorer(name).metric == name for name in NAMES)


OTHERWISE = ("perplexity", "json-fields", "scene", "scene-facts")  # other targets, or pictures


@pytest.mark.parametrize("name", [n for n in NAMES if n not in OTHERWISE])
@settings(max_examples=25, deadline=None)
@given(said=TEXT, target=st.text(alphabet="abcd e1", min_size=1, max_size=25))
def test_points_and_metrics_stay_in_range_and_love_the_truth(
    name: str, said: str, target: str
) -> None:
    scorer = resolve_scorer(name)
    assert 0.0 <= scorer.score(said, target) <= 1.0
    rows = [
        SampleScore("1", "", target, said, said, True, scorer.score(said, target)),
        SampleScore("2", "", target, target, target, True, scorer.score(target, target)),
    ]
    assert 0.0 <= scorer.aggregate(rows).value <= 1.0
    if name not in ("json-schema", "rouge-1", "rouge-2", "rouge-l", "chrf", "bleu"):
        assert scorer.score(target, target) == 1.0
    assert scorer.score(said, target) <= scorer.score(target, target) or name == "json-schema"


@pytest.mark.parametrize(
    ("said", "target", "exact", "f1"),
    [
        ("The Normans", "Normans", 1.0, 1.0),
        ("in France.", "France", 0.0, 2 / 3),
        ("10th and 11th centuries", "the 10th century", 0.0, 1 / 3),
        ("Rollo", "William", 0.0, 0.0),
        ("", "something", 0.0, 0.0),
    ],
)
def test_squad_values(said: str, target: str, exact: float, f1: float) -> None:
    assert resolve_scorer("exact-match").score(said, target) == exact
    assert resolve_scorer("token-f1").score(said, target) == pytest.approx(f1)


def test_normalisation_is_that_of_squad() -> None:
    assert normalised("  The  U.S. 'army' and an ox") == "us army and ox"


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(TEXT, TEXT.filter(str.strip)), min_size=1, max_size=6))
def test_corpus_bleu_and_chrf_equal_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    import sacrebleu

    said, wanted = [p for p, _ in pairs], [[t for _, t in pairs]]
    rows = sample_scores(list(pairs))
    bleu = sacrebleu.corpus_bleu(said, wanted, force=True).score / 100
    assert corpus_bleu(rows).value == pytest.approx(bleu, abs=1e-9)
    chrf = sacrebleu.corpus_chrf(said, wanted).score / 100
    assert corpus_chrf(rows).value == pytest.approx(chrf, abs=1e-9)


def test_bleu_and_chrf_on_real_sentences() -> None:
    import sacrebleu

    for said, target in PAIRS:
        one = sacrebleu.sentence_bleu(said, [target]).score / 100
        assert sentence_bleu(said, target) == pytest.approx(one)
        assert sentence_chrf(said, target) == pytest.approx(
            sacrebleu.sentence_chrf(said, [target]).score / 100
        )
    said, wanted = [p for p, _ in PAIRS], [[t for _, t in PAIRS]]
    expected = sacrebleu.corpus_bleu(said, wanted).score / 100
    assert 0.1 < expected < 0.9
    assert corpus_bleu(sample_scores(list(PAIRS))).value == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_equals_rouge_score_on_ascii_and_reads_other_alphabets(kind: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    reference = RougeScorer([kind])
    for said, target in PAIRS[:4]:
        assert rouge(kind)(said, target) == reference.score(target, said)[kind].fmeasure
    greek = "η γάτα κάθεται εδώ"
    assert reference.score(greek, greek)[kind].fmeasure == 0.0
    assert rouge(kind)(greek, greek) == 1.0


def test_rouge_l_by_hand() -> None:
    # Longest common subsequence 4 ("the cat on mat") of 5 and 6 words.
    value = rouge("rougeL")("the cat lay on mat", "the cat sat on the mat")
    assert value == pytest.approx(2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6))


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.sampled_from([*"abcd", None]), st.sampled_from(list("abce"))),
        min_size=1,
        max_size=30,
    )
)
def test_macro_f1_and_confusion_matrix_equal_scikit_learn(
    pairs: list[tuple[str | None, str]],
) -> None:
    from sklearn import metrics

    targets = [t for _, t in pairs]
    said = [p if p is not None else "unreadable" for p, _ in pairs]
    classes = sorted(set(targets) | {p for p, _ in pairs if p is not None})
    expected = metrics.f1_score(targets, said, labels=classes, average="macro", zero_division=0)
    rows = sample_scores(pairs)
    assert macro_f1(rows).value == pytest.approx(expected)
    matrix = confusion_matrix(rows, tuple("abcde"))
    assert np.array_equal(
        matrix.counts, metrics.confusion_matrix(targets, said, labels=list("abcde"))
    )
    assert sum(matrix.unreadable) == said.count("unreadable")


def test_regular_expressions() -> None:
    assert resolve_scorer("regex").score("order 1234 shipped", r"order \d+") == 1.0
    assert resolve_scorer("regex").score("order shipped", r"order \d+") == 0.0
    fixed = resolve_scorer(r"regex:^\d{4}-\d\d$")
    assert fixed.score("2024-05", "whatever") == 1.0
    assert fixed.score("May 2024", "whatever") == 0.0


def test_a_bad_pattern_is_named_before_the_model_runs() -> None:
    with pytest.raises(TaskError, match=r"Example q7: '\(' is not a regular expression"):
        resolve_scorer("regex").check([Example("q7", "in", "(")])
    with pytest.raises(TaskError, match="not a regular expression"):
        resolve_scorer("regex:[")


SCHEMA = {
    "type": "object",
    "properties": {"amount": {"type": "number"}},
    "required": ["amount"],
}


@pytest.mark.parametrize(
    ("said", "valid"),
    [
        ('{"amount": 3}', 1.0),
        ('Here it is:\n```json\n{"amount": 3.5}\n```', 1.0),
        ('{"amount": "3"}', 0.0),
        ('{"amount": NaN}', 0.0),
        ("amount 3", 0.0),
        ("[" * 100_000, 0.0),
        ("", 0.0),
    ],
)
def test_json_schema(said: str, valid: float) -> None:
    assert resolve_scorer("json-schema", schema=SCHEMA).score(said, "") == valid


def test_a_schema_at_fault_is_the_users_to_mend() -> None:
    with pytest.raises(TaskError, match="JSON schema is not valid"):
        resolve_scorer("json-schema", schema={"type": "number or so"})
    remote = resolve_scorer("json-schema", schema={"$ref": "http://localhost:9/nothing.json"})
    with pytest.raises(TaskError, match="never downloaded"):
        remote.score("{}", "")


def test_json_fields_count_leaves() -> None:
    target = '{"who": "Ann", "items": [1, 2]}'
    assert json_fields('{"items": [1, 2], "who": " Ann "}', target) == 1.0
    assert json_fields('{"who": "Ann", "items": [1]}', target) == pytest.approx(2 * 2 / (2 + 3))
    assert json_fields("no json", target) == 0.0
    with pytest.raises(TaskError, match="Example 1: The scorer json-fields needs JSON targets"):
        resolve_scorer("json-fields").check([Example("1", "in", "not json")])


def test_read_json_prefers_the_whole_text() -> None:
    assert read_json('{"code": "```\\nx\\n```"}') == {"code": "```\nx\n```"}


def test_unknown_scorer_names_the_choices() -> None:
    with pytest.raises(TaskError, match="Did you mean 'accuracy'") as caught:
        resolve_scorer("acuracy")
    assert "path/to/file.py:function" in caught.value.choices


def test_custom_scorers(tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "mine.py"
    file.write_text(
        "def ratio(prediction, target):\n"
        "    return abs(len(prediction) - len(target))\n"
        "ratio.higher_is_better = False\n"
        "ratio.low = 0.0\n"
        "def broken(prediction, target):\n"
        "    return 1 / 0\n",
        encoding="utf-8",
    )
    scorer = resolve_scorer(f"{file}:ratio")
    assert scorer.score("abc", "a") == 2.0
    assert (scorer.metric, scorer.low, scorer.high) == ("ratio", 0.0, None)
    assert not scorer.higher_is_better
    with pytest.raises(TaskError, match=r"broken failed with ZeroDivisionError.*'abc'"):
        resolve_scorer(f"{file}:broken").score("abc", "a")
    with pytest.raises(TaskError, match="has no function 'ration'"):
        resolve_scorer(f"{file}:ration")
    with pytest.raises(TaskError, match="there is no file"):
        resolve_scorer(f"{tmp_path / 'other.py'}:ratio")
    with pytest.raises(TaskError, match="returned nan"):
        resolve_scorer(lambda p, t: math.nan).score("a", "b")
    file.write_text("import no_such_module_here\n", encoding="utf-8")
    with pytest.raises(TaskError, match=r"mine\.py failed on import: ModuleNotFoundError"):
        resolve_scorer(f"{file}:ratio")
