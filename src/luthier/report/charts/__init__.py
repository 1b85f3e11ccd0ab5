"""Charts as small inline SVG, drawn by plain functions: data in, markup out.

Colours and type come from the page's style sheet through classes, so that dark mode and print need
nothing from here. Every chart is drawn once wide and once narrow; the page shows the one that fits.
"""

from luthier.report.charts.curves import Curve, CurveMark, learning_curves
from luthier.report.charts.forest import ForestRow, forest
from luthier.report.charts.frontier import FrontierPoint, frontier, on_frontier
from luthier.report.charts.quantity import Quantity, plain
from luthier.report.charts.sparkline import sparkline

__all__ = [
    "Curve",
    "CurveMark",
    "ForestRow",
    "FrontierPoint",
    "Quantity",
    "forest",
    "frontier",
    "learning_curves",
    "on_frontier",
    "plain",
    "sparkline",
]
