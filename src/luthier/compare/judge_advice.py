"""Was the first choice of an advice right? The final verdict says."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.compare.comparison import TechniqueResult
from luthier.compare.verdict.evidence import tried
from luthier.compare.verdict_record import Verdict
from luthier.probe.advice_record import AdviceOutcome, TriedTechnique
from luthier.probe.advice_rule import plain_recipe
from luthier.probe.probe_advice import Advice


def judge_advice(
    advice: Advice | None, verdict: Verdict, results: Sequence[TechniqueResult], *,
    task: str, base: str,
) -> AdviceOutcome | None:  # fmt: skip
    """The outcome of an advice; None without one, or while runs are still to be made.

    Among the best are the best technique, those that the tests cannot tell from it, and the pick.
    """
    unfinished = any(result.status in ("planned", "stopped") for result in results)
    if advice is None or advice.first is None or unfinished:
        return None
    best = {verdict.best, verdict.pick, *verdict.tied_with} - {None}
    rivals = tuple(
        TriedTechnique(r.technique, plain_recipe(r.plain_name), r.technique in best)
        for r in tried(results)
    )
    reason = ""
    if verdict.pick is None:
        reason = "the comparison has no pick, for no technique is worth one"
    elif advice.first not in [rival.technique for rival in rivals]:
        reason = f"{advice.first} was not tried"
    return AdviceOutcome(
        task=task,
        base=base,
        first=advice.first,
        hit=None if reason else advice.first in best,
        tried=rivals,
        pick=verdict.pick,
        rule=advice.rule,
        reason=reason,
    )
