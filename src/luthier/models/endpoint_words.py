"""What a server says for itself: the sentence out of an error body of whatever form."""

from __future__ import annotations

import html
import json
import re
from typing import Any

MOST_CHARACTERS = 300


def server_words(body: str) -> str:
    """The message of an error body, in one line: of a JSON object in the forms of OpenAI, FastAPI,
    Ollama, TGI and others, or of a page of HTML. What is neither comes as it is."""
    try:
        said = _message(json.loads(body))
    except ValueError:
        said = body
        if re.search(r"<(!doctype|html|head|body|h1)\b", body, re.IGNORECASE):
            said = html.unescape(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", body, flags=re.S))
    return " ".join(said.split())[:MOST_CHARACTERS]


def _message(found: Any) -> str:
    """The text of the first of the fields that servers put their words in."""
    if isinstance(found, str):
        return found
    if isinstance(found, dict):
        for name in ("error", "message", "detail", "msg", "error_message"):
            if found.get(name):
                place = found.get("loc")
                where = f" ({'.'.join(map(str, place))})" if isinstance(place, list) else ""
                return _message(found[name]) + where
    if isinstance(found, list) and found:
        return "; ".join(_message(each) for each in found)
    return json.dumps(found, ensure_ascii=False)


def is_filtered(body: str) -> bool:
    """Whether an error says that a content filter withheld the answer (Azure's form and others)."""
    signs = ("content_filter", "content management policy", "data_inspection")
    return any(sign in body.casefold() for sign in signs)
