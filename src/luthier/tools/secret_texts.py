"""Secrets taken out of what tools say and are told: those that `luthier.redaction` knows,
credentials of services, and bearer tokens."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from luthier.redaction import REDACTED, redact

SERVICES = "LUTHIER_" + "OPENAPI_"  # variables that hold credentials of services begin so
LEAST = 6  # characters: a shorter value would take ordinary words out
_IN_URL = re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@]*:([^\s/@]+)@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def redacted(text: str) -> str:
    """A text without secrets."""
    for name, value in os.environ.items():
        if name.startswith(SERVICES) and len(value) >= LEAST:
            text = text.replace(value, REDACTED)
    return _BEARER.sub(lambda found: f"{found.group(1)} {REDACTED}", redact(text))


def redacted_value(value: Any) -> Any:
    """The same for all texts of a JSON value."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: redacted_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_value(inner) for inner in value]
    return value


def has_password(address: str) -> bool:
    """Whether an address holds a password that is written out."""
    found = _IN_URL.search(address)
    return found is not None and not re.fullmatch(r"\$\{\w+\}", found.group(1))
