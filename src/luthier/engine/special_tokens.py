"""Special tokens that stand in a text are text: there they must not end a turn or begin one."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=8)
def control_texts(tokenizer: Any) -> tuple[str, ...]:
    """How the tokens are written that control a model (the end of a text, of a turn), longest
    first."""
    added = tokenizer.added_tokens_decoder.values()
    texts = {str(token) for token in added if token.special} | set(tokenizer.all_special_tokens)
    return tuple(sorted((t for t in texts if len(t) > 1 and t.strip()), key=len, reverse=True))


def as_text(tokenizer: Any, text: str) -> str:
    """The text with each control token broken up by a space: it is read as it is written."""
    for token in control_texts(tokenizer):
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
