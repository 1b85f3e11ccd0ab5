"""What is never shown or written: keys and passwords, wherever a text comes from.

A key is the value of an environment variable whose name says so (LUTHIER_API_KEY, HF_TOKEN,
PGPASSWORD, …), in plain, in JSON or in an address. A server that echoes its key shows it nowhere.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

REDACTED = "[redacted]"
SHORTEST_SECRET = 8  # a shorter value is no key, and may be a word of any text
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_PASSWORD = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^/\s@?#'\"]{1,500}@")
_SECRET_PARAMETERS = frozenset(
    ["key", "api-key", "api_key", "apikey", "token", "access_token", "password", "secret", "sig",
     "signature", "code"]
)  # fmt: skip
_PARAMETER = re.compile(
    rf"(?P<name>[?&](?:{'|'.join(sorted(_SECRET_PARAMETERS))})=)[^&\s#'\"]+", re.IGNORECASE
)


def names_secret(name: str) -> bool:
    """Whether an environment variable of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def secret_values() -> tuple[str, ...]:
    """The values of the environment that are secret, the longest first, in every spelling."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST_SECRET and names_secret(name) and not value.isdigit()
    }
    spelled = {s for v in found for s in (v, v.strip(), json.dumps(v)[1:-1], quote(v, safe=""))}
    return tuple(sorted((s for s in spelled if s), key=lambda s: (-len(s), s)))


def without_secrets(text: str) -> str:
    """The text without any of the secret values; otherwise as it is."""
    for value in secret_values():
        if value in text:
            text = text.replace(value, REDACTED)
    return text


def redact(text: str) -> str:
    """The text without secret values, and without the passwords and keys of addresses in it."""
    text = without_secrets(text)
    if "://" not in text:
        return text
    text = _PASSWORD.sub(rf"\g<scheme>{REDACTED}@", text)
    return _PARAMETER.sub(rf"\g<name>{REDACTED}", text)


def redacted_pieces(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of a stream without secret values, which may begin in one and end in another."""
    secrets, held = secret_values(), ""
    for piece in pieces:
        held = without_secrets(held + piece) if secrets else piece
        keep = max((_overlap(held, secret) for secret in secrets), default=0)
        ready, held = held[: len(held) - keep], held[len(held) - keep :]
        if ready:
            yield ready
    if held and secrets:
        yield held


def plain_address(address: str) -> str:
    """An address without user, password and keys: what may stand in a name or a record."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    query = parts.query
    pairs = parse_qsl(query, keep_blank_values=True)
    if any(name.lower() in _SECRET_PARAMETERS for name, _ in pairs):
        query = urlencode([(n, v) for n, v in pairs if n.lower() not in _SECRET_PARAMETERS])
    if host == parts.netloc and query == parts.query:
        return address
    return urlunsplit(parts._replace(netloc=host, query=query))


def _overlap(text: str, secret: str) -> int:
    """How much of the end of the text is the beginning of the secret."""
    longest = min(len(text), len(secret) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(secret[:n])), 0)
