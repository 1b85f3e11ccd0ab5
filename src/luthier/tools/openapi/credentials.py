"""Credentials of services: from the environment, at the moment of a call, and nowhere else."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from luthier.tools.secret_texts import SERVICES
from luthier.tools.toolbox import ToolFailure


def variable_of(scheme: str) -> str:
    """The variable that holds the credential of a security scheme: `apiKey` of a specification is
    LUTHIER_OPENAPI_APIKEY."""
    return SERVICES + re.sub(r"\W+", "_", scheme).upper()


def with_credentials(
    url: str, headers: Mapping[str, str], *,
    alternatives: Sequence[Sequence[str]], schemes: Mapping[str, Any],
) -> tuple[str, dict[str, str]]:  # fmt: skip
    """The address and the headers with what the first alternative that can be met asks for.

    ToolFailure, with the names of the variables, where none can be.
    """
    if not alternatives or () in [tuple(a) for a in alternatives]:
        return url, dict(headers)
    for names in alternatives:
        values = {name: os.environ.get(variable_of(name), "") for name in names}
        if all(values.values()):
            sent = dict(headers)
            for name, value in values.items():
                url = _put(url, sent, schemes.get(name) or {}, value)
            return url, sent
    needed = " or ".join(" and ".join(map(variable_of, names)) for names in alternatives)
    raise ToolFailure(f"The service needs a credential, which the user has not set: {needed}.")


def _put(url: str, headers: dict[str, str], scheme: Mapping[str, Any], value: str) -> str:
    kind, place = scheme.get("type"), scheme.get("in")
    name = str(scheme.get("name") or "")
    if kind == "apiKey" and place == "query":
        return f"{url}{'&' if '?' in url else '?'}{urlencode({name: value})}"
    if kind == "apiKey" and place == "cookie":
        both = [headers.get("cookie", ""), f"{name}={value}"]
        headers["cookie"] = "; ".join(part for part in both if part)
    elif kind == "apiKey":
        headers[name or "authorization"] = value
    elif kind == "http" and str(scheme.get("scheme", "")).lower() == "basic":
        headers["authorization"] = f"Basic {base64.b64encode(value.encode()).decode()}"
    else:
        headers["authorization"] = f"Bearer {value}"
    return url
