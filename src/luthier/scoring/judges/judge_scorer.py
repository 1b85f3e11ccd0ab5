"""`scorer: judge(…)`: an answer against the target, in both orders, as a judge sees it.

The score is 1 where the answer is better than the target, 0 where it is worse, ½ for a tie. A
scripted judge rates the answer by itself.
"""

from __future__ import annotations

from functools import lru_cache

from luthier.errors import TaskError
from luthier.scoring.judges.judge import Judge, Question, ScriptedJudge
from luthier.scoring.judges.judge_agreement import judge_agreement
from luthier.scoring.judges.open_judge import open_judge
from luthier.scoring.scorer import Scorer
from luthier.task.judge_spec import read_judge

FEWEST_REPLIES = 10  # before a judge that answers nonsense is told


def judge_scorer(source: str) -> Scorer:
    """The scorer of a rubric file or a function. The judge is opened when the first answer is
    scored. TaskError, before any model loads, for a rubric that cannot be read."""
    spec = read_judge(source)

    @lru_cache(maxsize=1)
    def opened() -> Judge:
        return open_judge(source)

    counts = {"asked": 0.0, "read": 0.0}

    def score_asked(question: str, prediction: str, target: str) -> float:
        judge = opened()
        if not prediction.strip():
            return 0.0
        asked = Question(question)
        if isinstance(judge, ScriptedJudge):
            (rated,) = judge.rate([(asked, prediction)])
            return rated or 0.0
        if prediction.strip() == target.strip():
            return 0.5
        (verdict,) = judge.compare([(asked, prediction, target)])
        counts["asked"] += 1
        counts["read"] += verdict.read
        if counts["asked"] >= FEWEST_REPLIES and counts["read"] == 0:
            raise TaskError(
                f"The judge {judge.name} answers with neither A, B nor tie: none of its first "
                f"{FEWEST_REPLIES} replies can be read",
                next_step="Take a larger model as the judge.",
            )
        return 0.5 if verdict.first is None else float(verdict.first)

    def notes() -> tuple[str, ...]:
        found = [judge_agreement(opened(), spec.people).sentence]
        if counts["read"] < counts["asked"]:
            share = 1 - counts["read"] / counts["asked"]
            found.append(f"{share:.0%} of the judge's replies could not be read: they are ties.")
        return tuple(found)

    return Scorer(
        metric="judge",
        score=lambda prediction, target: score_asked("", prediction, target),
        score_asked=score_asked,
        notes=notes,
    )
