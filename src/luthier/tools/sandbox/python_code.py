"""The code interpreter: Python that runs confined, and sees nothing of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from luthier.errors import UserError
from luthier.tools.sandbox.bubblewrap import confinement, run_confined
from luthier.tools.tool import Tool, ToolCard, ToolSource
from luthier.tools.toolbox import ToolFailure, seconds_left

LONGEST = 20_000  # characters of code
MOST_SECONDS = 20.0


class PythonCode:
    """Kind of tools: `python`, a code interpreter without a network and without files."""

    card: ClassVar[ToolCard] = ToolCard(
        does="runs Python (its standard library); what is printed comes back",
        may="calculate, in a sandbox without a network and without your files",
        needs="bubblewrap (Debian: bubblewrap); without it no code is run",
        example="python",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The interpreter. UserError where code cannot be confined here."""
        if address:
            raise UserError(f"python:{address} is no address", next_step="Write: python")
        confinement()
        parameters = {
            "type": "object",
            "properties": {
                "code": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": LONGEST,
                    "description": "Python; print what is wanted",
                }
            },
            "required": ["code"],
            "additionalProperties": False,
        }
        return ToolSource((
            Tool("python", "Runs Python code and returns what it prints.", parameters, run,
                 origin="python"),
        ))  # fmt: skip


def run(arguments: Mapping[str, Any]) -> str:
    """What code prints. ToolFailure with it where the code failed or was ended."""
    seconds = max(0.5, min(MOST_SECONDS, seconds_left() - 0.5))
    found = run_confined(str(arguments["code"]), seconds=seconds)
    if found.failed:
        reason = found.ended or f"exit code {found.code}"
        raise ToolFailure(f"{found.output.rstrip()}\n({reason})".lstrip())
    return found.output.rstrip() or "(nothing was printed)"
