"""Which terms act: designs, effects on planted truths, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from luthier.cli.main import run
from luthier.errors import BudgetError, UserError
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.report.terms_page import terms_page
from luthier.report.terms_words import sentences_of
from luthier.scoring.terms import study_terms
from luthier.scoring.terms.designs import factorial, leave_one_out, permutations, smallest
from luthier.scoring.terms.effect_estimates import estimate_effects, holm, mean_of
from luthier.scoring.terms.prompt_terms import sentences, terms_of, with_terms
from luthier.task.task import Task

TERMS, UNITS = 8, 32


def chance(shown, level):
    """Term 0 helps, 1 harms, 2 and 3 help only together; the others do nothing."""
    gain = 1.2 * shown[0] - 1.0 * shown[1] + 2.0 * (shown[2] and shown[3])
    return 1 / (1 + np.exp(-(level + gain)))


def studied(design, trials, seed):
    rng = np.random.default_rng(seed)
    levels = rng.normal(-0.3, 1, UNITS)
    if design == "factorial":
        planned = factorial(TERMS, range(UNITS), trials, seed=seed)
    elif design == "leave-one-out":
        planned = leave_one_out(TERMS, range(trials // (TERMS + 1)))
    else:
        units = [i % UNITS for i in range(trials // (TERMS + 1))]
        planned = permutations(TERMS, units, seed=seed)
    scores = [float(rng.random() < chance(t.shown, levels[t.unit])) for t in planned]
    return estimate_effects(design, planned, scores)


def test_a_factorial_finds_what_acts_and_little_else():
    found = [studied("factorial", 1024, seed) for seed in range(40)]
    hits = np.mean([[e.acts for e in study.effects] for study in found], axis=0)
    assert hits[:4].min() >= 0.95
    assert hits[4:].max() <= 0.05
    together = [any(p.acts and (p.first, p.second) == (2, 3) for p in s.pairs) for s in found]
    assert np.mean(together) >= 0.95
    false = [any(p.acts and (p.first, p.second) != (2, 3) for p in s.pairs) for s in found]
    assert np.mean(false) <= 0.1


def width(study):
    return float(np.mean([e.high - e.low for e in study.effects]))


def test_leaving_one_out_takes_more_than_twice_the_trials_for_the_same_width():
    fact = np.mean([width(studied("factorial", 256, seed)) for seed in range(20)])
    loo = np.mean([width(studied("leave-one-out", 288, seed)) for seed in range(20)])
    assert (loo / fact) ** 2 * 288 / 256 > 2


@pytest.mark.parametrize("terms", range(2, 13))
def test_no_effect_is_mixed_up_with_another_where_the_budget_allows(terms):
    planned = factorial(terms, range(40), 1024)
    x = np.array([t.shown for t in planned]) * 2 - 1
    pairs = [x[:, i] * x[:, j] for i in range(terms) for j in range(i)]
    everything = np.column_stack([np.ones(len(x)), x, *pairs])
    assert np.linalg.matrix_rank(everything) == everything.shape[1]
    assert len(planned) <= 1024
    assert np.abs(x.sum(0)).max() == 0  # each term is shown in half of the trials


def test_a_small_budget_still_tells_single_terms_apart():
    for terms in range(2, 20):
        planned = factorial(terms, range(8), smallest(terms))
        x = np.array([t.shown for t in planned]) * 2 - 1
        assert np.linalg.matrix_rank(np.column_stack([np.ones(len(x)), x])) == terms + 1


def test_permutations_give_shapley_values():
    planned = permutations(3, range(600), seed=1)
    # A game: 6 for terms 0 and 1 together, 3 for term 2 alone. Shapley: 3, 3, 3.
    scores = [6.0 * (t.shown[0] and t.shown[1]) + 3.0 * t.shown[2] for t in planned]
    found = estimate_effects("permutations", planned, scores)
    assert [e.value for e in found.effects] == pytest.approx([3, 3, 3], abs=0.3)
    assert sum(e.value for e in found.effects) == pytest.approx(9)


def test_intervals_of_one_difference_and_of_equal_ones_claim_no_more_than_they_know():
    assert mean_of(np.array([0.5]))[3] == 1.0
    assert mean_of(np.zeros(10)) == (0.0, 0.0, 0.0, 1.0)
    assert holm([0.01, 0.04, float("nan")]) == pytest.approx([0.03, 0.08, 1.0])


PROMPT = Prompt(
    instruction="Route the message. Be quick! Really?",
    objective="So that it is settled.",
    label_descriptions=(("a", "first"), ("b", "second")),
    demonstrations=(Demonstration("x", "a"), Demonstration("y", "b")),
)


def test_terms_come_out_and_go_in_again():
    prompt, terms = terms_of(PROMPT, ["Think."])
    assert [t.text for t in terms[:5]] == [
        "Route the message.", "Be quick!", "Really?", "Think.", "So that it is settled.",
    ]  # fmt: skip
    everything = with_terms(prompt, terms, [True] * len(terms))
    assert everything == prompt
    nothing = with_terms(prompt, terms, [False] * len(terms))
    assert nothing == Prompt()
    one = with_terms(prompt, terms, [t.text == "y → b" for t in terms])
    assert one.demonstrations == PROMPT.demonstrations[1:]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two", 2),
        ("一句。两句！三句", 3),
        ("3.14 is pi.", 1),
        ("a\nb", 2),
        ("", 0),
        (" . ", 1),
    ],
)
def test_sentences(text, count):
    assert len(sentences(text)) == count


@pytest.fixture
def task():
    labels = ("refund", "delivery")
    rows = [(f"my {labels[i % 2]} number {i}", labels[i % 2]) for i in range(160)]
    return Task.from_examples(
        rows, name="toy", instruction="Say refund. Name the queue.", labels=list(labels)
    )


def test_a_sentence_that_acts_is_named_and_the_test_split_is_not_touched(task):
    def reply(prompt):
        right = "refund" if "my refund" in prompt.split("Input:")[-1] else "delivery"
        return right if "Look twice." in prompt else "refund"

    from luthier.records import Capability

    backend = FakeBackend(reply=reply, capabilities=frozenset({Capability.TEXT}))
    study = study_terms(
        Model(backend), task.without_test(), trials=256, added=["Look twice.", "Please."]
    )
    acting = {study.terms[e.term].text for e in study.effects.effects if e.acts}
    assert acting == {"Look twice."}
    said = " ".join(sentences_of(study))
    assert "Helps: “Look twice.”" in said
    assert "Not seen to act" in said
    assert json.loads(json.dumps(study.to_json(), allow_nan=False))["terms"]
    page = terms_page(study)
    assert "<svg" in page
    assert "Look twice." in page
    assert "<script" not in page


def test_bad_input_is_told_before_anything_is_scored(task):
    model = Model(FakeBackend(reply=lambda prompt: pytest.fail("nothing is to be scored")))
    with pytest.raises(BudgetError, match="fewer than the"):
        study_terms(model, task, trials=2)
    with pytest.raises(UserError, match="no design"):
        study_terms(model, task, design="guess")
    bare = model.adapt(prompt=Prompt("One thing only."), decoding=task.base_decoding())
    with pytest.raises(UserError, match="two or more"):
        study_terms(bare, task)


def test_the_command_prints_the_table_and_writes_the_plot(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["terms", "routing", "--model", "fake", "--trials", "128", "--out", "e.html"]) == 0
    captured = capsys.readouterr()
    assert "design factorial" in captured.out
    assert (tmp_path / "e.html").read_text("utf-8").startswith("<!doctype html>")
    assert run(["terms", "routing", "--model", "fake", "--trials", "128", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["terms"]) >= 3
    (tmp_path / "mine.html").write_text("my own page")
    assert run(["terms", "routing", "--model", "fake", "--trials", "64", "--out", "mine.html"]) != 0
    assert (tmp_path / "mine.html").read_text() == "my own page"
