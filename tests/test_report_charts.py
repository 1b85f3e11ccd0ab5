"""The charts: scales and ticks, the Pareto frontier, labels that keep apart, escaped text."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.report.charts import (
    Curve,
    CurveMark,
    ForestRow,
    FrontierPoint,
    Quantity,
    forest,
    frontier,
    learning_curves,
    on_frontier,
    plain,
    sparkline,
)
from luthier.report.charts.placing import Box, place
from luthier.report.charts.scale import Scale, linear_ticks, log_ticks, spans_decades
from luthier.report.charts.svg import shortened, text_width

ACCURACY = Quantity("accuracy", lambda v: f"{v:.3f}", plain, 0.0, 1.0)
TOKENS = Quantity("tokens", lambda v: f"{v:,.0f}", plain)


def test_scale_maps_ends_and_clamps() -> None:
    scale = Scale(1.0, 100.0, 10.0, 210.0, log=True)
    assert scale.at(1.0) == 10.0
    assert scale.at(10.0) == pytest.approx(110.0)
    assert scale.at(1e9) == 210.0


@given(
    low=st.floats(-1e6, 1e6, allow_nan=False),
    width=st.floats(1e-4, 1e6),
    about=st.integers(2, 8),
)
def test_linear_ticks_are_several_and_inside(low: float, width: float, about: int) -> None:
    high = low + width
    ticks = linear_ticks(low, high, about=about)
    assert 2 <= len(ticks) <= 3 * about
    slack = 1e-6 * max(abs(low), abs(high), width)
    assert all(low - slack <= t <= high + slack for t in ticks)


def test_log_ticks_stay_few() -> None:
    assert log_ticks(36, 360) == [50, 100, 200]
    assert log_ticks(1, 1e6) == [1, 10, 100, 1e3, 1e4, 1e5, 1e6]
    assert len(log_ticks(1e-4, 1e12)) <= 7
    assert spans_decades([1, 100])
    assert not spans_decades([0, 100])
    assert not spans_decades([50, 60])


def test_ticks_are_written_with_as_few_decimals_as_needed() -> None:
    assert ACCURACY.ticks([0.2, 0.4, 0.6]) == ["0.2", "0.4", "0.6"]
    assert ACCURACY.ticks([0.25, 0.5]) == ["0.25", "0.50"]
    assert TOKENS.ticks([0.01, 0.1, 1]) == ["0.01", "0.1", "1"]
    signed = Quantity("gain", str, plain, signed=True)
    assert signed.ticks([-0.1, 0.0, 0.1]) == ["−0.1", "0", "+0.1"]


def test_frontier_keeps_what_nothing_beats_on_both() -> None:
    points = [
        FrontierPoint("cheap", 1.0, 0.3),
        FrontierPoint("same cost, worse", 1.0, 0.2),
        FrontierPoint("beaten", 5.0, 0.3),
        FrontierPoint("good", 4.0, 0.8),
        FrontierPoint("dear and no better", 9.0, 0.8),
    ]
    assert [p.name for p in on_frontier(points)] == ["cheap", "good"]
    lower = on_frontier(points, higher_is_better=False)
    assert [p.name for p in lower] == ["same cost, worse"]


def test_crowded_labels_do_not_cover_each_other() -> None:
    page = Box(0, 0, 800, 400)
    points = [(200.0 + 6 * k, 150.0 + 14 * k) for k in range(8)]
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    boxes = []
    for point in points:
        box, _ = place(point, 90.0, page=page, taken=taken)
        taken.append(box)
        boxes.append(box)
    assert all(box.outside(page) == 0 for box in boxes)
    assert all(a.overlap(b) == 0 for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("narrow", [False, True])
def test_charts_are_wellformed_and_escape_names(narrow: bool) -> None:
    name = '<b> & "quoted"'
    drawn = [
        forest(
            [ForestRow(name, 0.5, 0.4, 0.6, ticks=(0.45, 0.55)), ForestRow("none", None, note="–")],
            quantity=ACCURACY, label=name, reference=(0.1, name), narrow=narrow,
        ),
        frontier(
            [FrontierPoint(name, 10.0, 0.5, 0.4, 0.6), FrontierPoint("b", 1e6, 0.7, strong=True)],
            cost=TOKENS, score=ACCURACY, narrow=narrow,
        ),
        learning_curves(
            [Curve(name, (CurveMark(10, 0.3, 0.2, 0.4), CurveMark(100, 0.5)), dash="2 4")],
            score=ACCURACY, narrow=narrow,
        ),
        sparkline([(0, 2.0), (1, 1.0)], name=name, write=str),
    ]  # fmt: skip
    for svg in drawn:
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert "<b>" not in svg
        assert "nan" not in svg.lower()


def test_the_cost_axis_turns_logarithmic_over_decades() -> None:
    near = [FrontierPoint("a", 100.0, 0.5), FrontierPoint("b", 200.0, 0.6)]
    far = [FrontierPoint("a", 100.0, 0.5), FrontierPoint("b", 20_000.0, 0.6)]
    assert "logarithmic" not in frontier(near, cost=TOKENS, score=ACCURACY)
    assert "logarithmic" in frontier(far, cost=TOKENS, score=ACCURACY)


def test_the_axis_of_a_fraction_stays_within_it() -> None:
    svg = forest([ForestRow("a", 0.99, 0.9, 1.0)], quantity=ACCURACY, label="a")
    ticks = [float(t) for t in re.findall(r'class="tick mid">([\d.]+)<', svg)]
    assert len(ticks) > 1
    assert max(ticks) <= 1.0


def test_names_at_the_ends_of_curves_keep_apart() -> None:
    curves = [
        Curve(f"c{k}", (CurveMark(10, 0.1), CurveMark(20, 0.5 + 0.001 * k))) for k in range(6)
    ]
    svg = learning_curves(curves, score=ACCURACY)
    heights = sorted(
        float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)" class="name coloured">', svg)
    )
    assert len(heights) == 6
    assert min(b - a for a, b in pairwise(heights)) >= 15


def test_nothing_to_draw_draws_nothing() -> None:
    assert forest([ForestRow("a", None)], quantity=ACCURACY, label="a") == ""
    assert frontier([], cost=TOKENS, score=ACCURACY) == ""
    assert learning_curves([Curve("a", ())], score=ACCURACY) == ""
    assert sparkline([(0, 1.0)], name="a", write=str) == ""
    one = sparkline([(0, 1.0), (1, 1.0)], name="flat", write=str)
    assert "nan" not in one


def test_a_name_that_is_cut_keeps_its_base() -> None:
    name = "few-shot(shots=6, selection='random') on nano-reader"
    assert shortened(name, 200).endswith("…) on nano-reader")
    assert shortened(name, 900) == name
    assert shortened("a-name-without-settings on nano-reader", 100).endswith("…")
    assert text_width(shortened(name, 200)) <= 200
