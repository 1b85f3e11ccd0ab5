"""The hallucination map on planted knowledge: what is known, what is made up, what is admitted."""

from __future__ import annotations

import math
import random

import pytest

from luthier.content import ABSTENTION
from luthier.probe.answer_samples import cluster_sizes, same_answer, semantic_entropy
from luthier.probe.hallucination_map import map_hallucinations
from luthier.probe.probe_request import ProbeLimits, ProbeRequest
from luthier.probe.task_sample import unmet_examples
from luthier.probe.topics import topic_names, topic_scores
from luthier.serialization import dumps, loads
from luthier.task.task import Task
from tests.probed_models import last_input, sampling, scoring

TOWNS = [f"Town{i:02}" for i in range(60)]
MAYORS = {town: f"Mayor{i:02}" for i, town in enumerate(TOWNS)}
KNOWN = set(TOWNS[::2])


def question(town):
    return f"Who is the mayor of {town}?"


def qa_task(**keys):
    rows = [{"input": question(t), "target": MAYORS[t], **keys.get("more", {})} for t in TOWNS]
    return Task.from_examples(
        {"train": rows[:40], "dev": rows[40:50], "test": rows[50:]}, input="input",
        target="target", name="mayors", instruction="Answer.", kind="question-answering",
        **{k: v for k, v in keys.items() if k != "more"},
    )  # fmt: skip


def knows_half(prompt: str, rng: random.Random) -> str:
    """Knows every other mayor; elsewhere it says any name. Reads a passage, and admits, when asked
    to, that one does not answer."""
    town = next(t for t in reversed(prompt.split()) if t.startswith("Town")).strip("?.")
    if "Passage:" in prompt:
        passage = prompt.rpartition("Passage:")[2]
        if f"The mayor of {town} is" in passage:
            return passage.partition(f"The mayor of {town} is ")[2].split(".")[0]
        if ABSTENTION in prompt:
            return ABSTENTION
    if town in KNOWN:
        return MAYORS[town]
    return f"Mayor{rng.randrange(100, 999)}"


def documents(folder, towns=TOWNS):
    folder.mkdir(parents=True, exist_ok=True)
    for town in towns:
        text = f"{town} lies by a river. The mayor of {town} is {MAYORS[town]}.\n"
        (folder / f"{town}.txt").write_text(text, "utf-8")
    return str(folder)


def probed(model, task, **limits):
    limits = {"examples": 40, "samples": 6, **limits}
    return map_hallucinations(model, ProbeRequest(task=task, limits=ProbeLimits(**limits)))


def test_what_is_known_and_what_is_made_up_are_told_apart():
    found = probed(sampling(knows_half), qa_task())
    assert (found.split, found.examples) == ("train", 40)
    assert found.closed_book.value == 0.5
    assert found.entropy_tells == 1.0  # who makes things up says something else each time
    assert found.risk.gain == pytest.approx(1.0)
    assert found.risk_coverage[-1].risk == 0.5
    assert found.confidence_from == "the agreement of 6 sampled answers"
    assert found.ece.value < 0.2
    assert found.temperature is None
    assert "no log-probabilities" in found.lacks
    assert any("right in 50 %" in s for s in found.sentences())


def test_documents_help_and_what_they_do_not_say_is_admitted(tmp_path):
    found = probed(sampling(knows_half), qa_task(knowledge=documents(tmp_path / "docs")))
    assert found.book.source == "the documents of the task"
    assert found.book.open_book.value == 1.0
    assert found.book.abstains.value == 1.0
    assert found.book.abstains_wrongly.value == 0.0
    assert any("it says so in 100 %" in s for s in found.sentences())


def test_who_never_abstains_is_told(tmp_path):
    def bluffs(prompt, rng):
        return knows_half(prompt.replace(ABSTENTION, ""), rng)

    found = probed(sampling(bluffs), qa_task(knowledge=documents(tmp_path / "docs")))
    assert found.book.abstains.value == 0.0


def test_passages_of_the_examples_are_shown_in_place_of_documents():
    rows = [
        {"q": question(t), "a": MAYORS[t], "p": f"The mayor of {t} is {MAYORS[t]}."} for t in TOWNS
    ]
    task = Task.from_examples(
        rows, input="q", target="a", passage="p", name="mayors", instruction="Answer.",
        kind="question-answering",
    )  # fmt: skip
    found = probed(sampling(knows_half), task)
    assert found.book.source == "the passages of the task"
    assert found.closed_book.value < 0.8
    assert found.book.open_book.value == 1.0
    assert found.book.abstains.value == 1.0


def test_without_documents_it_says_so():
    found = probed(sampling(knows_half), qa_task())
    assert found.book.open_book is None
    assert "no documents" in found.lacks


WORDS = {"red": ["apple", "rose", "blood"], "blue": ["sea", "sky", "jeans"]}


def colour_task(count=160):
    rng = random.Random(0)
    rows = []
    for i in range(count):
        label = rng.choice(sorted(WORDS))
        rows.append({"input": f"{rng.choice(WORDS[label])} number {i}", "target": label})
    third = count // 4
    return Task.from_examples(
        {"train": rows[: 2 * third], "dev": rows[2 * third : 3 * third], "test": rows[3 * third :]},
        input="input", target="target", name="colours", instruction="Which colour?",
        kind="classify", labels=["blue", "red"],
    )  # fmt: skip


def overconfident(prompt, label):
    """Right in seven of ten, and always as good as certain."""
    text = last_input(prompt)
    truth = "red" if any(word in text for word in WORDS["red"]) else "blue"
    wrong = random.Random(text).random() < 0.3
    return 6.0 * ((label == truth) != wrong)


def test_labels_are_calibrated_on_dev_and_measured_elsewhere():
    found = probed(scoring(overconfident), colour_task(), examples=80)
    assert found.confidence_from == "the log-probabilities of the labels"
    assert found.closed_book.value == pytest.approx(0.7, abs=0.12)
    assert found.bias > 0.15
    assert found.temperature > 3
    assert found.temperature_examples == 40
    assert abs(found.bias_scaled) < 0.15
    assert found.ece_scaled.value < 0.6 * found.ece.value
    assert found.reliability
    assert found.reliability_scaled
    assert found.book is None
    said = " ".join(found.sentences())
    assert "believes too much of itself" in said


def test_labels_without_log_probabilities_are_sampled():
    def say(prompt, rng):
        return "red" if any(word in last_input(prompt) for word in WORDS["red"]) else "blue"

    found = probed(sampling(say), colour_task())
    assert found.closed_book.value == 1.0
    assert found.entropy == 0.0
    assert found.entropy_tells is None  # nothing is wrong
    assert "agreement" in found.confidence_from
    assert "no log-probabilities" in found.lacks


def test_a_topic_that_is_not_known_is_named():
    rows = []
    for i in range(60):
        rows.append({"q": f"Which pasta goes with the sauce number {i}?", "a": "penne"})
        rows.append({"q": f"Which orbit has the planet number {i}?", "a": "ellipse"})
    task = Task.from_examples(
        {"train": rows[:80], "dev": rows[80:100], "test": rows[100:]}, input="q", target="a",
        name="two", instruction="Answer.", kind="question-answering",
    )  # fmt: skip
    found = probed(
        sampling(lambda p, rng: "penne" if "pasta" in p else "circle"), task, examples=80
    )
    worst = found.topics[0]
    assert worst.accuracy == 0.0
    assert "orbit" in worst.topic or "planet" in worst.topic
    assert any("It is weak on" in s for s in found.sentences())


def test_what_cannot_be_asked_is_said():
    assert "No task" in map_hallucinations(sampling(knows_half), ProbeRequest()).lacks
    task = qa_task(scorer="perplexity")
    assert "perplexity" in probed(sampling(knows_half), task).lacks


def test_a_fitted_model_is_asked_what_its_fit_has_not_seen():
    from luthier.records import Lineage

    task = qa_task()
    bare = sampling(knows_half)
    fitted = bare.adapt(lineage=Lineage("few-shot", {}, 0))
    assert unmet_examples(bare, task, 5, 0)[0] == "train"
    assert unmet_examples(fitted, task, 5, 0)[0] == "test"
    assert unmet_examples(fitted, task.without_test(), 5, 0)[0] == "dev"


def test_equal_answers_are_one_cluster():
    assert same_answer("The red car", "red car.")
    assert not same_answer("born on 4 May 1987 in Ghent", "born on 5 May 1987 in Ghent")
    assert not same_answer("yes", "no")
    assert cluster_sizes(["Paris", "paris.", "Rome", "", ""]) == [2, 1, 2]
    assert semantic_entropy([1, 1]) == pytest.approx(math.log(2))
    assert semantic_entropy([4]) == 0.0
    assert semantic_entropy([]) == 0.0


def test_few_questions_have_no_topics():
    assert topic_names(["a b"] * 5) is None
    assert topic_names(["the of and"] * 40) is None
    assert topic_names(["same words here"] * 40) is None
    assert topic_scores(["x", "x"], [1.0, 0.0], None)[0].confidence is None


def test_the_map_is_kept_whole():
    found = probed(sampling(knows_half), qa_task())
    assert loads(type(found), dumps(found)) == found


def test_a_score_out_of_a_hundred_is_halved_like_any_other():
    from luthier.probe.task_sample import is_right
    from luthier.records import Example
    from luthier.scoring.resolve import resolve_scorer
    from luthier.scoring.scorer import Scorer

    example = Example("0", "q", "yes")
    hundred = Scorer("points", lambda p, t: 100.0 if p == t else 30.0, high=100.0)
    assert is_right(hundred, "yes", example)
    assert not is_right(hundred, "no", example)
    assert is_right(resolve_scorer("exact-match"), "Yes.", example)


def test_a_task_of_tool_calls_is_left_to_its_own_scorer():
    found = probed(sampling(knows_half), qa_task(scorer="call-match"))
    assert "call-match" in found.lacks
