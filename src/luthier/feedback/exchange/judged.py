"""An item with the opinions on it: what a row of any file becomes, and what it is written from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from luthier.ledger.opinions import FeedbackItem, Opinion, Source, digest_of

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """An item, and what was said of it."""

    item: FeedbackItem
    opinions: tuple[Opinion, ...]


@dataclass(frozen=True, slots=True)
class ExchangeFormat:
    """One shape of file. `fits` says whether a row has it; `read` raises FeedbackError with the
    reason; `write` leaves out what the shape cannot hold."""

    name: str
    fits: Callable[[Row], bool]
    read: Callable[[Row, Origin], JudgedItem]
    write: Callable[[JudgedItem], Iterable[Row]]
    lines: bool = True


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose opinions the rows of a file are, where a row does not say it itself."""

    who: str
    source: Source = "person"
    simulated: bool = False
    batch: str = ""

    def opinion(self, item: FeedbackItem, row: Row, **fields: Any) -> Opinion:
        """An opinion on that item; its key comes from its content."""
        who = str(row.get("who") or self.who)
        source = row.get("source") or self.source
        facts = {
            "source": source,
            "simulated": bool(row.get("simulated", self.simulated)),
            **fields,
        }
        key = digest_of([item.id, who, {k: facts[k] for k in sorted(facts)}])
        return Opinion(key=f"import-{key}", item=item.id, who=who, **facts)
