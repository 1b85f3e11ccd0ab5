"""The clock: the time in a zone, and days between dates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from luthier.errors import UserError
from luthier.tools.tool import Tool, ToolCard, ToolSource

_DATE = {"type": "string", "description": "a date, as in 2026-05-31"}


class Clock:
    """Kind of tools: the clock. `clock:2026-05-31T09:00` stands still, so that a run repeats."""

    card: ClassVar[ToolCard] = ToolCard(
        does="tells the time in a zone, the days between dates, and a date some days on",
        may="nothing but tell the time",
        needs="nothing; clock:2026-05-31T09:00 stands still",
        example="clock",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The clock; an address is the moment it stands at (UTC)."""
        held = _moment(address) if address else None
        now: Callable[[], datetime] = (lambda: held) if held else (lambda: datetime.now(UTC))
        zone = {"type": "string", "description": "such as Europe/Paris; UTC where left out"}
        return ToolSource((
            _tool("now", "Tells the date, the weekday and the time.", {"zone": zone}, (),
                  lambda a: tell(now(), str(a.get("zone", "UTC")))),
            _tool("days_between", "Counts the days from one date to another.",
                  {"first": _DATE, "last": _DATE}, ("first", "last"),
                  lambda a: str((_day(a["last"]) - _day(a["first"])).days)),
            _tool("add_days", "Tells the date so many days after a date (before it: negative).",
                  {"date": _DATE, "days": {"type": "integer", "minimum": -400_000,
                                           "maximum": 400_000}},
                  ("date", "days"), lambda a: _later(_day(a["date"]), int(a["days"]))),
        ))  # fmt: skip


def tell(moment: datetime, zone: str) -> str:
    """A moment in a zone: "Sunday 2026-05-31 11:00 (Europe/Paris)"."""
    try:
        there = moment.astimezone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {zone!r}; write one as Europe/Paris") from error
    return f"{there:%A %Y-%m-%d %H:%M} ({zone})"


def _tool(
    name: str, description: str, properties: Mapping[str, Any], required: tuple[str, ...],
    run: Callable[[Mapping[str, Any]], str],
) -> Tool:  # fmt: skip
    parameters = {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
    return Tool(name, description, parameters, run, origin="clock")


def _moment(address: str) -> datetime:
    try:
        found = datetime.fromisoformat(address)
    except ValueError as error:
        raise UserError(
            f"clock:{address} is no moment", next_step="Write one as clock:2026-05-31T09:00."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _day(text: Any) -> date:
    try:
        return date.fromisoformat(str(text)[:10])
    except ValueError as error:
        raise ValueError(f"{text!r} is no date; write it as 2026-05-31") from error


def _later(day: date, days: int) -> str:
    try:
        return f"{day + timedelta(days=days):%A %Y-%m-%d}"
    except OverflowError as error:
        raise ValueError("there is no such date") from error
