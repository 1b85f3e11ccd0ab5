"""One line of the comparison as readers see it: its mark, its colour and shape, its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.compare.comparison import Comparison, Run, TechniqueResult
from luthier.report.metric import MetricView

# Family: class in the style sheet, and the shape of its marker. Colour alone tells nothing.
FAMILIES = {
    "prompt": ("f-prompt", "circle"),
    "soft prompt": ("f-soft", "diamond"),
    "adapter": ("f-adapter", "square"),
    "weights": ("f-weights", "triangle"),
    "retrieval": ("f-retrieval", "pentagon"),
    "recipe": ("f-recipe", "wedge"),
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
    """A row of the comparison with its place in the page. `mark` is "pick", "tied", "best" or "".

    `key` is short and safe as an HTML id.
    """

    row: TechniqueResult
    key: str
    cls: str
    shape: str
    mark: str

    @property
    def name(self) -> str:
        """The technique as the user wrote it; a recipe's step in short, as "few-shot, step 1"."""
        if self.row.part_of is None:
            return self.row.technique
        return _STEP.sub(r", step \1", self.row.technique)

    @property
    def measured(self) -> bool:
        """Whether there is a score to show."""
        return self.row.score.value is not None

    @property
    def run(self) -> Run | None:
        """The run that stands for the technique where one must: the one behind its path, else the
        first with judged examples."""
        best = self.row.best
        if best is not None and best.sample_scores:
            return best
        return next((s for s in self.row.seeds if s.sample_scores), best)

    @property
    def finished_seeds(self) -> tuple[Run, ...]:
        """The runs that came to their end."""
        return tuple(s for s in self.row.seeds if s.status == "finished")

    @property
    def status_words(self) -> str:
        """Finished, failed, skipped, … in words."""
        return _STATUS.get(self.row.status, str(self.row.status))

    @property
    def reason(self) -> str:
        """Why it has no number; what its seeds say where the row itself is silent."""
        said = [self.row.reason, *(s.reason for s in self.row.seeds)]
        return next((reason for reason in said if reason), "no reason was recorded")


def technique_views(comparison: Comparison) -> list[TechniqueView]:
    """All rows, in the order of the comparison."""
    verdict = comparison.verdict
    lines = []
    for index, row in enumerate(comparison.rows):
        cls, shape = FAMILIES.get(row.family, ("f-other", "circle"))
        mark = ""
        if row.technique == verdict.pick:
            mark = "pick"
        elif row.technique in verdict.tied_with:
            mark = "tied"
        elif row.technique == verdict.best:
            mark = "best"
        lines.append(TechniqueView(row, f"t{index + 1}", cls, shape, mark))
    return lines


def best_first(lines: Sequence[TechniqueView], metric_view: MetricView) -> list[TechniqueView]:
    """Those with a score, best first."""
    measured = [line for line in lines if line.row.score.value is not None]
    sign = -1.0 if metric_view.higher_is_better else 1.0
    return sorted(measured, key=lambda line: sign * (line.row.score.value or 0.0))


def in_groups(lines: Sequence[TechniqueView]) -> tuple[list[TechniqueView], list[TechniqueView]]:
    """(those with a score, those that did not finish); some may be both."""
    return [x for x in lines if x.measured], [x for x in lines if x.row.status != "finished"]


def headline(comparison: Comparison) -> str:
    """The verdict in one sentence."""
    pick = comparison.verdict.pick
    if pick is not None:
        return f"Use {pick}."
    if any(row.status in ("planned", "stopped") for row in comparison.rows):
        return "No verdict yet."
    if comparison.verdict.best is not None:
        return "Use none of these yet."
    return "No verdict: nothing finished."


def tie_sentence(comparison: Comparison) -> str:
    """What the pick cannot be told apart from; "" when it stands alone."""
    tied = [name for name in comparison.verdict.tied_with if name != comparison.verdict.pick]
    if not tied:
        return ""
    names = tied[0] if len(tied) == 1 else ", ".join(tied[:-1]) + " and " + tied[-1]
    return (
        f"Statistically tied with {names}: on these test examples the paired tests cannot "
        "tell them apart."
    )
