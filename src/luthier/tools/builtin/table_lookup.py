"""A table to look things up in: a CSV file whose first column names the rows."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from luthier.errors import UserError
from luthier.scripts import without_signs
from luthier.tools.tool import Tool, ToolCard, ToolSource
from luthier.tools.toolbox import ToolFailure

MOST_BYTES = 5_000_000
MOST_NAMES = 20  # that are proposed where none fits
LISTED = 200  # names that a call is held to


class TableLookup:
    """Kind of tools: `lookup:FILE.csv`."""

    card: ClassVar[ToolCard] = ToolCard(
        does="looks a row up in a table (CSV) by the name in its first column",
        may="read that file",
        needs="a CSV file with a header",
        example="lookup:prices.csv",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The table. UserError where it cannot be read."""
        name, columns, rows = _read(address)
        key, *others = columns
        item: dict[str, Any] = {"type": "string", "description": f"the {key}"}
        if len(rows) <= LISTED:
            item["enum"] = [row[0] for row in rows.values()]
        properties = {
            key: item,
            "column": {"enum": list(others), "description": "left out: all of them"},
        }

        def run(arguments: Mapping[str, Any]) -> str:
            row = _find(rows, str(arguments[key]))
            column = arguments.get("column")
            if column is not None:
                return row[columns.index(str(column))]
            return "; ".join(f"{c}: {v}" for c, v in zip(columns, row, strict=True))

        tool = Tool(
            "lookup",
            f"Looks {' and '.join(others)} up in {name} by {key}.",
            {
                "type": "object",
                "properties": properties,
                "required": [key],
                "additionalProperties": False,
            },
            run,
            private=True,
            origin=f"lookup:{address}",
        )
        return ToolSource((tool,))


def _read(address: str) -> tuple[str, list[str], dict[str, list[str]]]:
    path = Path(address)
    try:
        if not address or path.stat().st_size > MOST_BYTES:
            raise UserError(
                f"lookup:{address} is no table of at most {MOST_BYTES:,} bytes",
                next_step="Write lookup:FILE.csv; a larger table is a database: sql:FILE.db.",
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns, *found = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(
            f"the table {address} cannot be read: {error}", next_step="Give a CSV file in UTF-8."
        ) from error
    if len(columns) < 2 or not found or any(len(row) != len(columns) for row in found):
        raise UserError(
            f"{address} is no table: each row needs as many cells as the header, two or more",
            next_step="Give a CSV file with a header.",
        )
    return path.stem, columns, {without_signs(row[0]): row for row in found}


def _find(rows: Mapping[str, list[str]], asked: str) -> list[str]:
    wanted = without_signs(asked)
    row = rows.get(wanted)
    if row is not None:
        return row
    close = [row[0] for name, row in rows.items() if wanted and (wanted in name or name in wanted)]
    if len(close) == 1:
        return rows[without_signs(close[0])]
    proposed = close or [row[0] for row in rows.values()]
    raise ToolFailure(f"There is no {asked[:80]!r}. There are: {', '.join(proposed[:MOST_NAMES])}")
