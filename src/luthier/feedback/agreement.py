"""Do people agree, and does a judge agree with them? With intervals, and who is far off.

People among themselves: Krippendorff's alpha (ordinal) over the seven steps of a preference.
Each person against all others, and each judge against all people: the share of items on which the
same answer is preferred, and Cohen's kappa over first, second and tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.errors import FeedbackError
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import FeedbackItem, Opinion
from luthier.scoring.judges.chance_corrected import (
    Agreement,
    cohen_kappa,
    krippendorff_alpha,
    share_agreeing,
)
from luthier.scoring.judges.consensus import PEOPLE, by_source, people_say, side, signed

FEWEST_ITEMS = 10  # below, nobody is called far off


@dataclass(frozen=True, slots=True)
class Rater:
    """One person, judge or script: against the other people.

    `far_off`: with 95 % confidence they agree no better than chance would. `first_shown` is the
    share of their preferences for the answer that stood first on the page, None where that is not
    recorded: far from a half it is a habit and no opinion.
    """

    who: str
    source: str
    simulated: bool
    opinions: int
    ties: int
    agreement: Agreement
    kappa: Agreement
    first_shown: float | None
    far_off: bool


@dataclass(frozen=True, slots=True)
class AgreementReport:
    """All of it. `contradictions` counts items on which people prefer different answers;
    `simulated`: scripts that play people are among them."""

    items: int
    opinions: int
    people: Agreement
    raters: tuple[Rater, ...]
    contradictions: int
    simulated: bool


def agreement_report(store: FeedbackStore) -> AgreementReport:
    """The agreement on all preferences of the store. FeedbackError where there is none."""
    items = {item.id: item for item in store.items()}
    opinions = [o for o in store.opinions() if o.kind == "preference"]
    if not opinions:
        raise FeedbackError(
            "There is no preference in the store yet",
            next_step="Annotate (luthier feedback open), or import opinions (luthier feedback "
            "import).",
        )
    of_people = [o for o in opinions if o.source in PEOPLE]
    votes: dict[str, dict[str, int]] = {}
    for opinion in of_people:
        votes.setdefault(opinion.item, {})[opinion.who] = signed(opinion, items[opinion.item])
    table = [list(of_item.values()) for of_item in votes.values()]
    return AgreementReport(
        items=len({o.item for o in opinions}),
        opinions=len(opinions),
        people=krippendorff_alpha(table, level="ordinal"),
        raters=tuple(
            _rater(who, source, said, opinions, items)
            for (source, who), said in by_source(opinions).items()
        ),
        contradictions=sum(
            len({side(v) for v in of_item.values()} - {"tie"}) > 1 for of_item in votes.values()
        ),
        simulated=any(o.simulated for o in of_people),
    )


def _rater(
    who: str, source: str, said: Sequence[Opinion], opinions: Sequence[Opinion],
    items: dict[str, FeedbackItem],
) -> Rater:  # fmt: skip
    others = people_say(opinions, items, without=who if source == "person" else None)
    pairs = [
        (side(signed(o, items[o.item])), side(others[o.item])) for o in said if o.item in others
    ]
    agreement, kappa = share_agreeing(pairs), cohen_kappa(pairs)
    far_off = len(pairs) >= FEWEST_ITEMS and kappa.low is not None and kappa.low <= 0.0
    placed = Counter(o.answer == o.shown[0] for o in said if o.shown and not o.is_tie)
    total = sum(placed.values())
    return Rater(
        who=who,
        source=source,
        simulated=any(o.simulated for o in said),
        opinions=len(said),
        ties=sum(o.is_tie for o in said),
        agreement=agreement,
        kappa=kappa,
        first_shown=placed[True] / total if total else None,
        far_off=far_off,
    )
