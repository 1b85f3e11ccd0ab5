"""References: what needs no language model, on the same examples."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from luthier.compare import Comparison, Options, compare
from luthier.compare.comparison import TechniqueResult
from luthier.compare.references import reference_sentence, suited_references
from luthier.compare.references.best_sentence import BestSentence
from luthier.compare.references.commonest_answer import CommonestAnswer
from luthier.compare.references.embedding_classifier import EmbeddingClassifier
from luthier.compare.references.plain_reference import PlainReference
from luthier.compare.references.word_classifier import WordClassifier
from luthier.errors import ModelError, UserError
from luthier.models.load import load
from luthier.records import Budget, PairedTest, Score
from luthier.report import terminal_table
from luthier.report.html import render_html
from luthier.report.technique_view import headline
from luthier.scoring.evaluation import evaluate_reference
from luthier.task.task import Task
from luthier.training.linear_classifier import fit_linear
from luthier.training.word_features import has_spaces
from tests.compare_stubs import toy_task

WORDS_ONLY = Options(embedder="none")


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def task() -> Task:
    return toy_task()


def run(task: Task, options: Options = WORDS_ONLY, **rest: Any) -> Comparison:
    settings: dict[str, Any] = {"budget": Budget(tokens=500_000), "out": "runs/x", **rest}
    return compare(task, load("fake"), techniques=("zero-shot",), options=options, **settings)


class FewVectors:
    """An embedder that counts letters."""

    id, dimension = "letters", 26

    def embed(self, texts: Any) -> Any:
        counts = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]
        rows = np.array(counts, np.float32)
        return rows / np.maximum(1.0, np.linalg.norm(rows, axis=1, keepdims=True))

    embed_queries = embed


def test_a_comparison_has_references_beside_its_techniques(task: Task) -> None:
    found = run(task)
    assert [r.technique for r in found.references] == [
        "commonest answer",
        "TF-IDF + logistic regression",
    ]
    assert [r.technique for r in found.results] == ["zero-shot"]
    words = found.references[1]
    assert words.status == "finished"
    assert (words.score.value or 0) > 0.7  # three queues, 15 % mislabelled
    assert words.score.low is not None
    assert (words.cost.fit_seconds or 0) > 0
    assert (words.cost.latency_p50_ms or 0) > 0
    assert (words.cost.per_1k_requests or 0) > 0
    assert words.cost.artifact_bytes is None
    assert words.path is None
    samples = words.runs[0].sample_scores
    assert {s.example_id for s in samples} == {e.id for e in task.test}
    assert {(t.first, t.second) for t in found.reference_tests} == {
        ("zero-shot", r.technique) for r in found.references
    }
    assert "TF-IDF + logistic regression reaches accuracy" in found.verdict.reference
    assert headline(found) == "Use none of these yet."
    beaten = replace(found, verdict=replace(found.verdict, pick="zero-shot"))
    assert headline(beaten).endswith("what needs no language model does better.")
    row = found.to_json()["references"][1]
    assert row["reference"] == "TF-IDF + logistic regression"
    assert set(row["techniques"]["zero-shot"]) == {"difference", "low", "high", "p", "better"}
    assert found.to_json()["verdict"]["reference"] == found.verdict.reference


def test_references_are_kept_and_not_run_again(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(task)

    def never(self: Any, task: Task) -> Any:
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(WordClassifier, "fit", never)
    monkeypatch.setattr(CommonestAnswer, "fit", never)
    again = run(task)
    assert again.references == first.references
    assert Comparison.load("runs/x").references == first.references


def test_a_failed_reference_stops_nothing(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Any, task: Task) -> Any:
        raise ValueError("no words at all")

    monkeypatch.setattr(WordClassifier, "fit", fails)
    found = run(task)
    assert [r.status for r in found.references] == ["finished", "failed"]
    assert "no words at all" in (found.references[1].reason or "")
    assert found.results[0].status == "finished"
    assert "no words at all" in render_html(found)


def test_references_can_be_left_out(task: Task) -> None:
    found = run(task, Options(references=False))
    assert found.references == ()
    assert found.verdict.reference == ""
    assert found.to_json()["references"] == []


def test_an_unknown_embedder_is_refused_before_anything_runs(task: Task, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No embedder 'minimlm'"):
        run(task, Options(embedder="minimlm"))
    assert not (tmp_path / "runs").exists()


def test_terminal_and_report_show_references_apart(task: Task) -> None:
    from rich.console import Console

    found = run(task)
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal_table(found))
    text = console.export_text()
    assert text.index("zero-shot") < text.index("no language model") < text.index("TF-IDF")
    page = render_html(found)
    assert page.index("References: no language model") < page.index("Against no language model")


@pytest.mark.parametrize("reference", [CommonestAnswer(), WordClassifier()])
def test_a_reference_never_reads_a_target(task: Task, reference: PlainReference) -> None:
    fitted = reference.fit(task.without_test())
    blind = [replace(example, target="?") for example in task.test]
    said = [response.parsed for response in fitted.answer(task.test)]
    assert [response.parsed for response in fitted.answer(blind)] == said
    result = evaluate_reference(fitted, task)
    assert [s.prediction for s in result.sample_scores] == said


def test_an_embedder_makes_a_third_reference(task: Task) -> None:
    reference = EmbeddingClassifier(FewVectors(), "letters")  # type: ignore[arg-type]
    fitted = reference.fit(task.without_test())
    chance = evaluate_reference(CommonestAnswer().fit(task.without_test()), task)
    result = evaluate_reference(fitted, task)
    assert (result.score.value or 0) > (chance.score.value or 0)
    assert fitted.record.settled["embedder"] == "letters"
    assert fitted.record.dev_score is not None


@pytest.mark.slow
def test_setfit_trains_the_encoder_and_says_so_where_it_cannot(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("setfit")
    monkeypatch.setattr("luthier.compare.references.setfit_classifier.MOST_ROUNDS", 3)
    few = replace(task.without_test(), train=task.train[:24], dev=task.dev[:12])
    assert [r.name for r in suited_references(task, "none")][-1] != "SetFit on MiniLM"
    *_, reference = suited_references(task, setfit=True)
    assert reference.name == "SetFit on MiniLM"
    fitted = reference.fit(few)
    assert fitted.record.settled["rounds of pairs"] == 3
    assert (fitted.record.trainable_parameters or 0) > 20_000_000
    assert (fitted.record.dev_score or 0) > 0.5
    said = {r.parsed for r in fitted.answer(task.dev)}
    assert said <= set(task.labels)
    with pytest.raises(ModelError, match="none that can be trained here"):
        suited_references(task, "http://h/v1#m", setfit=True)


def test_what_suits_which_task(task: Task) -> None:
    names = [type(r).__name__ for r in suited_references(task, "none")]
    assert names == ["CommonestAnswer", "WordClassifier"]
    questions = Task.from_examples(
        [{"q": f"what is {i}", "a": f"thing {i}"} for i in range(40)],
        name="q", instruction="Answer.", kind="question-answering", input="q", target="a",
    )  # fmt: skip
    assert suited_references(questions, "none") == ()


def test_the_best_sentence_is_found_in_documents(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/parcels.md").write_text(
        "# Parcels\n\nA parcel takes three days. The depot in Ghent opens at nine. Boxes are free."
    )
    (tmp_path / "docs/bikes.md").write_text("# Bikes\n\nA bike has two wheels. Brakes are checked.")
    rows = [
        {"q": "When does the depot in Ghent open?", "a": "The depot in Ghent opens at nine."},
        {"q": "How many wheels has a bike?", "a": "A bike has two wheels."},
    ]
    (tmp_path / "q.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "q",
                "instruction": "Answer.",
                "kind": "question-answering",
                "data": "q.jsonl",
                "input": "q",
                "target": "a",
                "knowledge": "docs/**",
                "leaks": "keep",  # one question in many copies
            }
        )
    )
    many = [{"q": f"{r['q']} ({i})", "a": r["a"]} for i in range(15) for r in rows]
    (tmp_path / "q.jsonl").write_text("\n".join(json.dumps(row) for row in many))
    opened = Task.load(tmp_path / "q.yaml")
    fitted = BestSentence(vectors=False).fit(opened.without_test())
    said = {
        e.target: r.parsed for e, r in zip(opened.test, fitted.answer(opened.test), strict=True)
    }
    assert said == {target: target for target in said}
    assert isinstance(suited_references(opened)[0], BestSentence)


def test_texts_without_spaces_are_read_by_characters() -> None:
    assert has_spaces(["where is my parcel", "pay"])
    assert not has_spaces(
        ["私の荷物はどこにありますか教えてください", "支払いを確認したいのですがどうすれば"]
    )


def test_a_linear_fit_takes_the_penalty_that_does_best_on_dev() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)).astype(np.float32)
    y = ["a" if row[0] > 0 else "b" for row in x]
    fit = fit_linear((x[:100], y[:100]), (x[100:], y[100:]))
    assert (fit.accuracy or 0) > 0.9
    assert fit.labels == ("a", "b")
    others = [fit_linear((x[:100], y[:100]), (x[100:], y[100:]), penalties=[c]) for c in (0.1, 100)]
    assert fit.accuracy == max(f.accuracy or 0 for f in (*others, fit))
    one = fit_linear((x[:9], ["a"] * 9), (x[9:12], ["a", "b", "a"]))
    assert one.predict(x[:3]) == ["a", "a", "a"]
    assert fit_linear((x[:50], y[:50]), (x[:0], [])).accuracy is None


def result(name: str, value: float) -> TechniqueResult:
    score = Score("accuracy", value, value - 0.05, value + 0.05)
    return TechniqueResult(name, name, "x", False, "finished", score, Score("parse-rate", 1.0))


@pytest.mark.parametrize(
    ("better", "words"),
    [
        ("lora", "It beats what needs no language model"),
        (None, "You may not need a language model"),
        ("TF-IDF + logistic regression", "You do not need a language model for this"),
    ],
)
def test_the_verdict_in_words(better: str | None, words: str) -> None:
    plain, lora = result("TF-IDF + logistic regression", 0.8), result("lora", 0.7)
    test = PairedTest(
        lora.technique, plain.technique, -0.1, -0.2, 0.0, 0.04, 0.04, better is None, "t", 9,
        better=better,
    )  # fmt: skip
    said = reference_sentence([plain], [test], lora)
    assert words in said
    assert "0.800" in said


def test_a_reference_that_is_never_right_recommends_nothing() -> None:
    nothing, lora = result("best sentence of the best passage", 0.0), result("lora", 0.04)
    test = PairedTest(
        lora.technique, nothing.technique, 0.04, 0.0, 0.1, 0.09, 0.09, True, "t", 9, better=None
    )
    said = reference_sentence([nothing], [test], lora)
    assert said.startswith("Neither is of use")
    assert "not need" not in said
