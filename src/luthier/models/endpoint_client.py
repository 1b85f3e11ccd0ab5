"""The openai client of an address."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from luthier.errors import ModelError


def open_client(url: str) -> Any:
    """The openai client of an address. Azure's deployments have the version of the API in the
    address, and take the key in a header of their own."""
    try:
        import openai
    except ImportError as error:
        raise ModelError(
            "An endpoint needs the openai client, which is not installed",
            next_step="pip install 'luthier[endpoint]'",
        ) from error
    key = os.environ.get("LUTHIER_API_KEY") or os.environ.get("OPENAI_API_KEY") or "none"
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    azure = "api-version" in query or (parts.hostname or "").endswith(".azure.com")
    return openai.OpenAI(
        base_url=parts._replace(query="").geturl(),
        api_key=key,
        default_query=query or None,
        default_headers={"api-key": key} if azure else None,
        max_retries=3,
        timeout=120.0,
    )
