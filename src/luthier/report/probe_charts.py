"""The charts of a probe's page: each as two drawings, a wide one and a narrow one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.report import amounts
from luthier.report.charts import ForestRow, Quantity, forest
from luthier.report.charts.unit_square import SquareCurve, unit_square

if TYPE_CHECKING:
    from luthier.probe.familiarity import Familiarity
    from luthier.probe.hallucination_map import HallucinationMap
    from luthier.probe.skills import SkillsProfile

COLOURS = ("f-prompt", "f-soft", "f-adapter", "f-weights")
SHAPES = ("circle", "diamond", "square", "triangle")


@dataclass(frozen=True, slots=True)
class ProbeChart:
    """A chart for a wide page and for a narrow one, with what it shows."""

    title: str
    caption: str
    wide: Any
    narrow: Any


def familiarity_charts(found: Familiarity) -> list[ProbeChart]:
    """The areas by measure, and the ROC curves."""
    rows = []
    for place, one in enumerate(found.against):
        cls, shape = COLOURS[place % 4], SHAPES[place % 4]
        if one.paired is not None:
            score = one.paired
            rows.append(
                ForestRow(one.name, score.value, score.low, score.high,
                          tag=_decides(one.decided_by, "paired"), cls=cls, shape=shape)
            )  # fmt: skip
            continue
        for score in one.areas:
            rows.append(
                ForestRow(f"{one.name}: {score.metric}", score.value, score.low, score.high,
                          note="not measured", tag=_decides(one.decided_by, score.metric),
                          cls=cls, shape=shape)
            )  # fmt: skip
        if one.blind is not None:
            rows.append(
                ForestRow(f"{one.name}: words alone", one.blind.value, one.blind.low,
                          one.blind.high, cls="f-other", shape="pentagon")
            )  # fmt: skip
    quantity = Quantity(
        "share of pairs", lambda value: amounts.score(value, fraction=True), low=0.0, high=1.0
    )
    curves = [
        SquareCurve(one.name, one.roc, cls=COLOURS[place % 4], shape=SHAPES[place % 4])
        for place, one in enumerate(found.against)
    ]
    return [
        *_chart(
            "Told apart from matched text",
            "The share of windows that are likelier than their shuffled form, and of pairs in "
            "which the documents' window is the more familiar one, with 95 % intervals over "
            "documents. At 0.5 nothing is told.",
            lambda narrow: forest(
                rows, quantity=quantity, label="Familiarity", narrow=narrow,
                reference=(0.5, "chance"),
            ),
        ),
        *_chart(
            "ROC curves",
            "Every threshold on familiarity: the share of the documents' windows above it against "
            "that of the matched text.",
            lambda narrow: unit_square(
                curves, across="matched text above", up="documents above", diagonal="chance",
                narrow=narrow,
            ),
        ),
    ]  # fmt: skip


def hallucination_charts(found: HallucinationMap) -> list[ProbeChart]:
    """The reliability diagram before and after scaling, and risk against coverage."""
    bins = [
        (name, some, cls, shape)
        for name, some, cls, shape in (
            ("as it is", found.reliability, "f-soft", "diamond"),
            ("after temperature scaling", found.reliability_scaled, "f-adapter", "circle"),
        )
        if some
    ]
    reliability = [
        SquareCurve(
            name,
            tuple((one.confidence, one.accuracy) for one in some),
            tuple(
                None if one.low is None or one.high is None else (one.low, one.high)
                for one in some
            ),
            cls=cls, shape=shape, marked=True,
        )
        for name, some, cls, shape in bins
    ]  # fmt: skip
    risk = SquareCurve(
        "answers, the surest first",
        tuple((point.coverage, point.risk) for point in found.risk_coverage),
        cls="f-prompt",
        marked=True,
    )
    return [
        *_chart(
            "Reliability",
            "Answers of like confidence, and the share of right ones among them. Below the line "
            "the base believes too much of itself.",
            lambda narrow: unit_square(
                reliability, across="confidence", up="share of right answers",
                diagonal="as sure as right", narrow=narrow,
            ),
        ),
        *_chart(
            "Risk against coverage",
            "The share of wrong answers when only the surest are given.",
            lambda narrow: unit_square(
                [risk], across="share of questions answered", up="share of wrong answers",
                narrow=narrow,
            ),
        ),
    ]  # fmt: skip


def skills_charts(found: SkillsProfile) -> list[ProbeChart]:
    """Each skill with its interval; what guessing reaches is a tick."""
    rows = [
        ForestRow(
            skill.name, skill.score.value, skill.score.low, skill.score.high,
            ticks=() if skill.chance is None else (skill.chance,),
            cls="f-adapter" if skill.shown else "f-other",
            shape="circle" if skill.shown else "diamond",
        )
        for skill in found.skills
    ]  # fmt: skip
    quantity = Quantity(
        "share right", lambda value: amounts.score(value, fraction=True), low=0.0, high=1.0
    )
    return _chart(
        "Skills",
        "The share of right answers with 95 % intervals; the tick is what guessing reaches. Grey "
        "diamonds are no better than guessing.",
        lambda narrow: forest(rows, quantity=quantity, label="Skills", narrow=narrow),
    )


def _chart(title: str, caption: str, draw: Callable[[bool], str]) -> list[ProbeChart]:
    """The chart; nothing where there is nothing to draw."""
    from markupsafe import Markup

    wide, narrow = draw(False), draw(True)
    # Trusted: the drawings escape every text.
    return [ProbeChart(title, caption, Markup(wide), Markup(narrow))] if wide else []


def _decides(decided_by: str, metric: str) -> str:
    return "decides" if decided_by == metric else ""
