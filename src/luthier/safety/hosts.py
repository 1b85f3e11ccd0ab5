"""Whom an address out of a file may lead to.

A folder, an index or a task file that somebody else made may name any server. Neither a key nor a
text goes there until the user names the address (on the command line, or as an argument), or
allows its host in `LUTHIER_ALLOWED_HOSTS`.
"""

from __future__ import annotations

import os
import re
from urllib.parse import SplitResult, urlsplit

from luthier.errors import ModelError
from luthier.redaction import plain_address

_STANDARD_PORTS = {"http": 80, "https": 443}
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Schemes whose rest is a path of this machine.
_ON_DISK = frozenset(["file", "lancedb", "qdrant"])
_named: set[tuple[str, int | None]] = set()


def leads_away(address: str) -> bool:
    """Whether this is an address of a server, rather than a name or a path."""
    found = _ADDRESS.match(address.strip())
    return found is not None and found.group()[:-3].lower() not in _ON_DISK


def name_host(address: str) -> None:
    """Note that the user named an address: files may lead to its host from now on."""
    if leads_away(address):
        _named.add(_host(address))


def check_host(address: str, *, found_in: str, next_step: str) -> None:
    """ModelError for an address out of a file whose host nobody named or allowed.

    `found_in` says which file names it, `next_step` how the user names it himself.
    """
    if not leads_away(address):
        return
    host, port = _host(address)
    shown = host if port is None else f"{host}:{port}"
    if (host, port) in _named or host in _allowed() or shown in _allowed():
        return
    raise ModelError(
        f"{found_in} names the address {plain_address(address)}, and an address out of a file gets "
        "no key and no text",
        next_step=f"{next_step}, or allow the host: LUTHIER_ALLOWED_HOSTS={shown}",
    )


def refuse_password(address: str, *, of: str) -> None:
    """ModelError for an address with a password, where it would be kept with records (`of`)."""
    if plain_address(address) != address:
        raise ModelError(
            f"{of} holds a password or a key, which would be kept with every model and record: "
            f"{address}",
            next_step=f"Leave it out ({plain_address(address)}) and set LUTHIER_API_KEY.",
        )


def same_server(old: str, new: str) -> bool:
    """Whether a redirect stays on the server: the same host and port, or the same host with TLS."""
    before, after = urlsplit(old), urlsplit(new)
    if (before.hostname or "").rstrip(".") != (after.hostname or "").rstrip("."):
        return False
    if before.scheme == after.scheme:
        return _port(before) == _port(after)
    return (before.scheme, after.scheme) == ("http", "https") and after.port in (None, 443)


def _allowed() -> frozenset[str]:
    listed = os.environ.get("LUTHIER_ALLOWED_HOSTS", "")
    return frozenset(part.lower().rstrip(".") for part in re.split(r"[,\s]+", listed) if part)


def _host(address: str) -> tuple[str, int | None]:
    parts = urlsplit(address.strip())
    try:
        port = _port(parts)
    except ValueError:
        port = None
    return (parts.hostname or "").lower().rstrip("."), port


def _port(parts: SplitResult) -> int | None:
    return parts.port or _STANDARD_PORTS.get(parts.scheme.rpartition("+")[2])
