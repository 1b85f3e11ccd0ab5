"""Agreement against published figures and known truths, and who is far off."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from luthier.cli.main import run
from luthier.errors import FeedbackError
from luthier.feedback.agreement import agreement_report
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import Opinion, make_item
from luthier.scoring.judges.chance_corrected import cohen_kappa, krippendorff_alpha

# The example of Krippendorff 2011, "Computing Krippendorff's alpha-reliability": 12 items, 4
# observers; there alpha is 0.743 (nominal), 0.815 (ordinal) and 0.849 (interval).
EXAMPLE = list(
    zip(
        [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
        [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
        strict=True,
    )
)


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_is_the_published_one(level, alpha):
    found = krippendorff_alpha(EXAMPLE, level=level)
    assert found.value == pytest.approx(alpha, abs=5e-4)
    assert found.low < found.value < found.high
    assert found.items == 11


def test_what_cannot_be_computed_is_none():
    assert krippendorff_alpha([[1, None], [None, 2]]).value is None
    assert krippendorff_alpha([[1, 1], [1, 1]]).value is None  # nothing varies
    assert krippendorff_alpha([[1, 2]] * 5 + [[1, 1], [2, 2]]).value < 0
    assert cohen_kappa([]).value is None
    assert cohen_kappa([("a", "a")] * 9).value is None


def test_kappa_is_that_of_another_library():
    rng = np.random.default_rng(0)
    first = rng.choice(["a", "b", "tie"], 300)
    second = np.where(rng.random(300) < 0.7, first, rng.choice(["a", "b", "tie"], 300))
    found = cohen_kappa(list(zip(first, second, strict=True)))
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    assert found.low < found.value < found.high


def test_the_interval_of_alpha_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    # Two observers, two values, each right with 0.9: their expected agreement is 0.82, chance 0.5.
    truth = 1 - (1 - 0.82) / 0.5
    hits = 0
    for _ in range(100):
        right = rng.integers(0, 2, 80)
        rows = [[v if rng.random() < 0.9 else 1 - v for _ in range(2)] for v in right]
        found = krippendorff_alpha(rows)
        hits += found.low <= truth <= found.high
    assert 88 <= hits <= 100


@pytest.fixture
def folder(tmp_path):
    """40 items; ada and bo mostly agree, cy always takes what is shown first, a judge is right."""
    rng = np.random.default_rng(0)
    with FeedbackStore(tmp_path / "ledger.sqlite") as store:
        for i in range(40):
            item = make_item(f"q{i}", ["good", "bad"])
            store.add_items([item])
            good, bad = (a.id for a in item.answers)
            shown = (good, bad) if rng.random() < 0.5 else (bad, good)
            for who, source, better in (
                ("ada", "person", good if rng.random() < 0.95 else bad),
                ("bo", "person", good if rng.random() < 0.95 else bad),
                ("cy", "person", shown[0]),
                ("rubric", "judge", good),
            ):
                worse = bad if better == good else good
                store.add_opinion(
                    Opinion(
                        f"{who}{i}", item.id, "preference", who, source=source, answer=better,
                        other=worse, grade="better", shown=shown,
                    )
                )  # fmt: skip
    return tmp_path


def test_who_is_far_off_is_shown(folder):
    with FeedbackStore(folder / "ledger.sqlite") as store:
        report = agreement_report(store)
    raters = {r.who: r for r in report.raters}
    assert {who for who, r in raters.items() if r.far_off} == {"cy"}
    assert raters["cy"].first_shown == 1.0
    assert raters["rubric"].source == "judge"
    assert raters["rubric"].agreement.value > 0.9
    assert raters["rubric"].kappa.low > 0.4
    assert 0 < report.people.value < 1
    assert report.contradictions > 5


def test_the_command_prints_tables_and_json(folder, capsys):
    assert run(["feedback", "agreement", "--folder", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "far off" in shown
    assert "Krippendorff's alpha (ordinal)" in shown
    assert run(["feedback", "agreement", "--folder", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == 40


def test_an_empty_store_says_what_to_do(tmp_path, capsys):
    with FeedbackStore(tmp_path / "ledger.sqlite") as store, pytest.raises(FeedbackError):
        agreement_report(store)
    assert run(["feedback", "agreement", "--folder", str(tmp_path / "none")]) == 2
    assert "luthier feedback sample" in capsys.readouterr().err
