"""A judge's opinions on the items of a store, beside those of people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.context import report_progress
from luthier.errors import FeedbackError
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import FeedbackItem, Opinion, Source, digest_of
from luthier.scoring.judges.judge import Judge, Question, ScriptedJudge

ITEMS_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What a judge did: new opinions, ties among them, and the share of its replies that could be
    read."""

    judge: str
    new: int
    ties: int
    known: int
    read: float | None


def judge_items(
    store: FeedbackStore, judge: Judge, *, simulated: bool = False, batch: str | None = None
) -> JudgeReport:
    """Judge all items with two answers that this judge has not judged.

    `simulated`: the judge plays a person, and its opinions count as that person's.
    FeedbackError where there is nothing to judge, or nothing of what it says can be read.
    """
    pairs = [item for item in store.items(batch=batch) if len(item.answers) == 2]
    if not pairs:
        raise FeedbackError(
            "There is no pair of answers to judge",
            next_step="Sample some: luthier feedback sample MODEL --prompts FILE.",
        )
    done = {o.item for o in store.opinions(who=judge.name)}
    waiting = [item for item in pairs if item.id not in done]
    new = ties = 0
    read: list[float] = []
    for start in range(0, len(waiting), ITEMS_AT_ONCE):
        report_progress(start, len(waiting), f"judged {start} of {len(waiting)}")
        opinions, shares = _opinions(waiting[start : start + ITEMS_AT_ONCE], judge, simulated)
        read += shares
        if not any(read):
            raise FeedbackError(
                f"The judge {judge.name} answers nonsense: none of its first {len(read)} replies "
                "can be read",
                next_step="Take a larger model as the judge; nothing of it was stored.",
            )
        new += store.add_opinions(opinions)
        ties += sum(o.is_tie for o in opinions)
    share = sum(read) / len(read) if read else None
    return JudgeReport(judge.name, new, ties, len(pairs) - len(waiting), share)


def _opinions(
    items: Sequence[FeedbackItem], judge: Judge, simulated: bool
) -> tuple[list[Opinion], list[float]]:
    asked = [(Question(i.question, i.context), i.answers[0].text, i.answers[1].text) for i in items]
    source: Source = "judge"
    if isinstance(judge, ScriptedJudge):
        source = "person" if simulated else "script"
    opinions, read = [], []
    for item, verdict in zip(items, judge.compare(asked), strict=True):
        read.append(verdict.read)
        if verdict.read == 0:
            continue  # no opinion at all, which is no tie
        first, second = (a.id for a in item.answers)
        better, worse = (first, second) if verdict.first else (second, first)
        tie = verdict.first is None
        opinions.append(
            Opinion(
                key=f"judge-{digest_of([judge.name, item.id])}",
                item=item.id,
                kind="preference",
                who=judge.name,
                source=source,
                simulated=simulated,
                answer=None if tie else better,
                other=None if tie else worse,
                grade=verdict.grade,
            )
        )
    return opinions, read
