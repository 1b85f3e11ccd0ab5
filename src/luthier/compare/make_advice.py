"""The advice of a comparison: made from short measurements before anything is fitted."""

from __future__ import annotations

from luthier.compare.plan import Plan
from luthier.compare.request import ComparisonRequest
from luthier.probe.probe_advice import Advice, advice_for
from luthier.probe.probe_request import ProbeRequest


def make_advice(request: ComparisonRequest, plan: Plan) -> Advice:
    """The ranking of the techniques that will run, with the passes that the plan gives to each."""
    several = len(request.bases) > 1
    techniques: dict[str, dict[str, float | None]] = {}
    for planned in plan.to_run:
        name = planned.name.removesuffix(f" on {planned.base}") if several else planned.name
        techniques.setdefault(planned.base, {})[name] = planned.estimate.epochs
    asked = ProbeRequest(task=request.task, seed=request.options.seed)
    return advice_for(request.bases.model, asked, techniques)
