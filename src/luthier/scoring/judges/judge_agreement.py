"""How often a judge says what people say, on the items that both judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.ledger.database import LEDGER_FILE
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import FeedbackItem
from luthier.scoring.judges.chance_corrected import Agreement, cohen_kappa, share_agreeing
from luthier.scoring.judges.consensus import people_say, side, signed
from luthier.scoring.judges.judge import Judge, Question

JUDGED = "The scores are the opinion of the judge"  # so begins the sentence about its agreement
FEWEST_ITEMS = 20  # below, an agreement is not called known


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """The share of items, and kappa. `simulated`: scripts played the people."""

    judge: str
    agreement: Agreement
    kappa: Agreement
    simulated: bool = False

    @property
    def sentence(self) -> str:
        """For a reader of scores that the judge made."""
        items, value = self.agreement.items, self.agreement.value
        if value is None:
            return (
                f"{JUDGED} {self.judge}, whose agreement with "
                "people is not known: no decision should rest on them alone. Judge some items by "
                "hand (luthier feedback open) and name their folder as `people` in the rubric."
            )
        people = "simulated people" if self.simulated else "people"
        kappa = "" if self.kappa.value is None else f", kappa {self.kappa.value:.2f}"
        few = " That is too few to know it." if items < FEWEST_ITEMS else ""
        return (
            f"{JUDGED} {self.judge}, which agrees with {people} on "
            f"{value:.2f} [{self.agreement.low:.2f}–{self.agreement.high:.2f}] of {items} "
            f"items{kappa}.{few}"
        )


def unknown_agreement(judge: str) -> JudgeAgreement:
    """The agreement of a judge that nobody has compared with people."""
    return JudgeAgreement(judge, share_agreeing([]), cohen_kappa([]))


def judge_agreement(judge: Judge, people: str | Path | None) -> JudgeAgreement:
    """The agreement on the store in the folder `people`.

    Opinions of this judge that stand there count; items that people judged and it did not are
    judged now.
    """
    if people is None or not (Path(people) / LEDGER_FILE).is_file():
        return unknown_agreement(judge.name)
    with FeedbackStore(Path(people) / LEDGER_FILE) as store:
        items = {item.id: item for item in store.items() if len(item.answers) == 2}
        opinions = [o for o in store.opinions() if o.item in items and o.kind == "preference"]
    theirs = people_say(opinions, items)
    own = {o.item: signed(o, items[o.item]) for o in opinions if o.who == judge.name}
    missing = [items[id] for id in theirs if id not in own]
    own |= dict(zip((i.id for i in missing), judged_values(judge, missing), strict=True))
    pairs = [(side(own[id]), side(value)) for id, value in theirs.items()]
    simulated = any(o.simulated for o in opinions)
    return JudgeAgreement(judge.name, share_agreeing(pairs), cohen_kappa(pairs), simulated)


def judged_values(judge: Judge, items: Sequence[FeedbackItem]) -> list[int]:
    """What the judge says of each item: 1 for the answer with the lower id, −1 for the other, 0."""
    asked = []
    for item in items:
        first, second = sorted(item.answers, key=lambda a: a.id)
        asked.append((Question(item.question, item.context), first.text, second.text))
    return [0 if v.first is None else 1 if v.first else -1 for v in judge.compare(asked)]
