"""A technique's result as readers see it: its mark, its colour and shape, its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.compare.comparison import Comparison, Run, TechniqueResult
from luthier.report.metric_view import MetricView

# The class of each family in the style sheet and the shape of its marker, so that not only the
# colour tells them apart.
FAMILIES = {
    "prompt": ("f-prompt", "circle"),
    "soft prompt": ("f-soft", "diamond"),
    "adapter": ("f-adapter", "square"),
    "weights": ("f-weights", "triangle"),
    "head": ("f-head", "hexagon"),
    "retrieval": ("f-retrieval", "pentagon"),
    "recipe": ("f-recipe", "wedge"),
    "reference": ("f-other", "circle"),
}
# What a probe said of a base and the test set (`luthier.probe.contamination`).
TEST_SET = {
    "found": "the base has met the test set",
    "no sign": "no sign of the test set in the base",
    "cannot tell": "test set in the base: cannot be told",
}
_STEP = re.compile(r" \(step (\d+) of .*\)$")
_STATUS = {
    "finished": "finished",
    "failed": "failed",
    "skipped": "skipped",
    "stopped": "stopped before it finished",
    "planned": "not run yet",
}


@dataclass(frozen=True, slots=True)
class TechniqueView:
    """A result and how it is shown. `mark` is "pick", "tied", "best", "untried" or "".

    `key` is short and safe as an HTML id; `cls` and `shape` are those of the family. `test_set`
    says whether the base has met the test set, "" where nobody looked.
    """

    result: TechniqueResult
    key: str
    cls: str
    shape: str
    mark: str
    test_set: str = ""

    @property
    def name(self) -> str:
        """The technique as the user wrote it, with several bases with that of the row; a recipe's
        step in short: "few-shot, step 1"."""
        if self.result.part_of is None:
            return self.result.technique
        short = _STEP.sub(r", step \1", self.result.technique)
        several = self.result.part_of.endswith(f" on {self.result.base}")
        return f"{short} on {self.result.base}" if several else short

    @property
    def name_in_group(self) -> str:
        """The same under the heading of its base."""
        return self.name.removesuffix(f" on {self.result.base}")

    @property
    def mark_words(self) -> str:
        """The mark in words."""
        return {"best": "highest", "untried": "undertrained"}.get(self.mark, self.mark)

    @property
    def measured(self) -> bool:
        """Whether there is a score to show."""
        return self.result.score.value is not None

    @property
    def run(self) -> Run | None:
        """The run that represents the technique where only one can be shown: the one behind its
        path, else the first with scored examples."""
        best = self.result.best
        if best is not None and best.sample_scores:
            return best
        return next((run for run in self.result.runs if run.sample_scores), best)

    @property
    def finished_runs(self) -> tuple[Run, ...]:
        """The runs that finished."""
        return tuple(run for run in self.result.runs if run.status == "finished")

    @property
    def status_words(self) -> str:
        """The status in words."""
        return _STATUS.get(self.result.status, str(self.result.status))

    @property
    def reason(self) -> str:
        """Why it did not finish; the reason of a run where the result itself has none."""
        reasons = [self.result.reason, *(run.reason for run in self.result.runs)]
        return next((reason for reason in reasons if reason), "no reason was recorded")


def technique_views(comparison: Comparison) -> list[TechniqueView]:
    """All results, in the order of the comparison."""
    verdict = comparison.verdict
    met = {name: TEST_SET[found] for name, found in comparison.met_test_sets.items()}
    views = []
    for index, result in enumerate(comparison.results):
        cls, shape = FAMILIES.get(result.family, ("f-other", "circle"))
        mark = ""
        if result.technique == verdict.pick:
            mark = "pick"
        elif result.technique in verdict.tied_with:
            mark = "tied"
        elif result.technique == verdict.best:
            mark = "best"
        if result.technique in verdict.untried:
            mark = "untried"
        base = result.base or comparison.model.short
        views.append(TechniqueView(result, f"t{index + 1}", cls, shape, mark, met.get(base, "")))
    return views


def reference_views(comparison: Comparison) -> list[TechniqueView]:
    """What needs no language model, the plainest first."""
    cls, shape = FAMILIES["reference"]
    return [
        TechniqueView(result, f"r{index + 1}", cls, shape, "")
        for index, result in enumerate(comparison.references)
    ]


def best_first(views: Sequence[TechniqueView], metric_view: MetricView) -> list[TechniqueView]:
    """Those with a score, best first."""
    measured = [view for view in views if view.result.score.value is not None]
    sign = -1.0 if metric_view.higher_is_better else 1.0
    return sorted(measured, key=lambda view: sign * (view.result.score.value or 0.0))


def by_base(
    comparison: Comparison, views: Sequence[TechniqueView]
) -> list[tuple[str, list[TechniqueView]]]:
    """The views under the name of each base; under "" where there is one base only."""
    if len(comparison.bases) == 1:
        return [("", list(views))]
    groups = [(b.short, [v for v in views if v.result.base == b.short]) for b in comparison.bases]
    return [(name, own) for name, own in groups if own]


def in_groups(views: Sequence[TechniqueView]) -> tuple[list[TechniqueView], list[TechniqueView]]:
    """Those with a score, and those that did not finish; a technique may be in both groups."""
    return [v for v in views if v.measured], [v for v in views if v.result.status != "finished"]


def answer_notes(views: Sequence[TechniqueView]) -> list[str]:
    """What befell the requests and bears on the scores: each note after the techniques it is of,
    or alone where it is of all."""
    found: dict[str, list[str]] = {}
    finished = [view for view in views if view.finished_runs]
    for view in finished:
        for note in dict.fromkeys(note for run in view.finished_runs for note in run.notes):
            found.setdefault(note, []).append(view.name)
    return [
        note if len(names) == len(finished) else f"{', '.join(names)}: {note}"
        for note, names in found.items()
    ]


def headline(comparison: Comparison) -> str:
    """The verdict in one sentence."""
    pick = comparison.verdict.pick
    tests = comparison.reference_tests
    if pick is not None and any(t.first == pick and t.better == t.second for t in tests):
        return f"Of these, use {pick}; what needs no language model does better."
    if pick is not None:
        return f"Use {pick}."
    if any(result.status in ("planned", "stopped") for result in comparison.results):
        return "No verdict yet."
    if comparison.verdict.best is not None:
        return "Use none of these yet."
    return "No verdict: nothing finished."


def tie_sentence(comparison: Comparison) -> str:
    """The techniques that cannot be told from the best; "" when there are none."""
    verdict = comparison.verdict
    tied = [name for name in verdict.tied_with if name not in (verdict.pick, verdict.best)]
    if not tied:
        return ""
    names = tied[0] if len(tied) == 1 else ", ".join(tied[:-1]) + " and " + tied[-1]
    return (
        f"Statistically tied with the best: {names}. On these test examples the tests cannot tell "
        "them apart."
    )


def advice_sentences(comparison: Comparison) -> list[str]:
    """What was advised before anything was fitted, and whether the first choice was right."""
    advice, outcome = comparison.plan.advice, comparison.advice_outcome
    if advice is None:
        return []
    return [*advice.sentences(), *([outcome.sentence()] if outcome is not None else [])]


def refit_sentence(comparison: Comparison) -> str:
    """What became of the pick on train and dev; "" where that was not asked for."""
    refit = comparison.refit
    if refit is None:
        return ""
    run = refit.run
    if run.status != "finished" or run.score.value is None:
        return f"Not refitted on train and dev: {run.reason}."
    return (
        f"Refitted on train and dev together ({run.train_examples:,} examples, seed {run.seed}), "
        f"with what was chosen before: {run.score.metric} {run.score.value:.3f} on the same test "
        "examples. It is what the command below asks; the verdict is about the fits before it."
    )
