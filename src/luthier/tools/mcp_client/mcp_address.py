"""How an MCP server is named: a command, or the address of a server."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass, field

from luthier.errors import UserError

_SETTING = re.compile(r"^([A-Za-z_]\w*)=(.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class McpAddress:
    """A server that is started by `command` (with variables `environment`), or one at `url`."""

    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict, hash=False)
    url: str = ""

    @property
    def label(self) -> str:
        """How messages name it, without variables."""
        return self.url.split("?")[0] or shlex.join(self.command)


def parse_address(text: str) -> McpAddress:
    """The server behind "npx -y some-server", "KEY=value command …" or "http://host/mcp".

    UserError where it cannot be one: no program of that name, for instance.
    """
    if text.startswith(("http://", "https://")):
        return McpAddress(url=text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(
            f"mcp:{text} is no command: {error}", next_step="Close the quotation marks."
        ) from error
    environment: dict[str, str] = {}
    while words and (found := _SETTING.match(words[0])):
        environment[found.group(1)] = found.group(2)
        words = words[1:]
    if not words:
        raise UserError(
            "mcp names no server",
            choices=("mcp:npx -y some-server", "mcp:http://localhost:8000/mcp"),
        )
    if shutil.which(words[0]) is None:
        raise UserError(
            f"there is no program {words[0]!r}, which mcp:{shlex.join(words)} starts",
            next_step="Install it, or write the path in full.",
        )
    return McpAddress(tuple(words), environment)
