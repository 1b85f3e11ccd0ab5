"""From addresses ("sql:sqlite:///shop.db", "calculator") to the tools behind them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from luthier import registry
from luthier.errors import UserError, did_you_mean
from luthier.tools.limits import ToolLimits
from luthier.tools.named_addresses import name_addresses
from luthier.tools.permissions import Permissions
from luthier.tools.secret_texts import has_password, redacted
from luthier.tools.tool import ToolCard, ToolSource
from luthier.tools.toolbox import Toolbox

_VARIABLE = re.compile(r"\$\{(\w+)\}")


def open_toolbox(
    addresses: Sequence[str], *, permissions: Permissions | None = None,
    limits: ToolLimits | None = None,
) -> Toolbox:  # fmt: skip
    """The tools behind some addresses, which the user names by this.

    UserError, with the choices, for an address that begins with no kind of tools, or whose tools
    cannot be opened; then nothing stays open.
    """
    for address in addresses:
        kind_of(address)
    name_addresses(addresses)
    sources: list[ToolSource] = []
    try:
        for address in addresses:
            sources.append(open_source(address))
    except BaseException:
        for source in sources:
            source.close()
        raise
    return Toolbox(sources, permissions=permissions, limits=limits)


def open_source(address: str) -> ToolSource:
    """The tools of one address. `${NAME}` in it is read from the environment now."""
    name = kind_of(address)
    rest = address.partition(":")[2].strip()
    source: ToolSource = registry.get("tools", name).open(_expanded(rest, address))
    return source


def kind_of(address: str) -> str:
    """The kind of tools that an address begins with. UserError where it is none, and where the
    address holds a password in plain sight."""
    name = registry.addressed("tools", address)
    if name is None:
        choices = registry.names("tools")
        head = address.partition(":")[0]
        raise UserError(
            f"There are no tools {redacted(address)[:80]!r}",
            choices=choices,
            next_step=did_you_mean(head, choices) or "See: luthier tools",
        )
    if has_password(address):
        raise UserError(
            f"the address {redacted(address)!r} holds a password, which would be stored with it",
            next_step="Put it into the environment, and write ${NAME} in its place.",
        )
    return name


def tool_cards() -> dict[str, ToolCard]:
    """What each kind of tools does, by name."""
    found, _ = registry.load_all("tools")
    return {name: kind.card for name, kind in found.items()}


def _expanded(rest: str, address: str) -> str:
    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if not found:
            raise UserError(
                f"{address}: the environment variable {match[1]} is not set",
                next_step=f"Set it: export {match[1]}=…",
            )
        return found

    return _VARIABLE.sub(value, rest)
