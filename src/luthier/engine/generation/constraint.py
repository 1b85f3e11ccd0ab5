"""Which tokens a grammar lets come next, through llguidance."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from luthier.engine.session import Session
from luthier.errors import CapabilityError

SPACE = "▁"  # how sentencepiece writes a space inside a token


class Constraint:
    """The state of one answer under a grammar (see `luthier.models.grammar`).

    `start` is a matcher at the beginning, which never moves.
    """

    def __init__(self, start: Any, vocabulary: Any, size: int) -> None:
        self._start = start
        self._matcher = start.deep_copy()
        self._vocabulary = vocabulary
        self._size = size

    @classmethod
    def of(cls, session: Session, grammar: str, ends: tuple[int, ...]) -> Constraint:
        """The constraint at its beginning. `ends` are the ids that end an answer."""
        size = session.vocabulary
        start = _compiled(session.tokenizer, size, ends, grammar)
        return cls(start, _vocabulary(session.tokenizer, size, ends), size)

    @property
    def finished(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())

    def allowed(self) -> torch.Tensor:
        """(V,) bool: the tokens that may come next, and the ends where the answer may stop."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        flags = np.unpackbits(bits, bitorder="little")[: self._size]
        return torch.from_numpy(flags.astype(np.bool_))

    def append(self, token: int) -> None:
        """Go on by one token, which must be allowed."""
        self._matcher.consume_token(token)

    def restart(self) -> None:
        """Go back to the beginning."""
        self._matcher = self._start.deep_copy()

    def accepts(self, text: str) -> bool:
        """Whether a finished text is an answer that the grammar allows."""
        matcher = self._start.deep_copy()
        ids = self._vocabulary.greedy_tokenize(text)
        return matcher.try_consume_tokens(ids) == len(ids) and bool(matcher.is_accepting())


@lru_cache(maxsize=512)
def _compiled(tokenizer: Any, size: int, ends: tuple[int, ...], grammar: str) -> Any:
    from llguidance import LLMatcher

    matcher = LLMatcher(_vocabulary(tokenizer, size, ends), grammar, log_level=0)
    if matcher.is_error():
        raise CapabilityError(
            f"The constraint cannot be used with this tokenizer: {matcher.get_error()[:200]}",
            next_step="Simplify it, or generate without one.",
        )
    return matcher


@lru_cache(maxsize=8)
def _vocabulary(tokenizer: Any, size: int, ends: tuple[int, ...]) -> Any:
    import transformers
    from llguidance import LLTokenizer
    from llguidance.hf import from_tokenizer

    # A model may have fewer rows than its tokenizer has tokens, or more; masks are cut to it.
    size = max(size, len(tokenizer))
    if isinstance(tokenizer, transformers.PreTrainedTokenizerFast):
        try:
            return from_tokenizer(tokenizer, n_vocab=size, eos_token=list(ends))
        except ValueError:
            pass  # no byte-level and no byte-fallback decoder: read the tokens themselves
    from llguidance import TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_TokenBytes(tokenizer, size, ends)), n_vocab=size)


class _TokenBytes:
    """What llguidance needs of a tokenizer that it does not know: the bytes of every token."""

    def __init__(self, tokenizer: Any, size: int, ends: tuple[int, ...]) -> None:
        special = set(tokenizer.all_special_ids)
        texts = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.tokens = [
            f"<|{i}|>".encode() if i in special or text is None else _bytes(text)
            for i, text in enumerate(texts)
        ]
        self.tokens += [f"<|{i}|>".encode() for i in range(len(self.tokens), size)]
        self.special_token_ids = [*special, *range(len(texts), size)]
        self.eos_token_id = ends[0]
        self.bos_token_id = tokenizer.bos_token_id
        self._ids = {text: i for i, text in enumerate(self.tokens)}
        self._longest = max(map(len, self.tokens))

    def __call__(self, text: bytes) -> list[int]:
        """The ids of a text, the longest token each time. The tokenizer itself would put a space in
        front."""
        ids, at = [], 0
        while at < len(text):
            ends = range(min(len(text), at + self._longest), at, -1)
            end = next((end for end in ends if text[at:end] in self._ids), None)
            if end is None:
                break  # no token has these bytes; llguidance goes on from there by itself
            ids.append(self._ids[text[at:end]])
            at = end
        return ids


def _bytes(token: str) -> bytes:
    return token.replace(SPACE, " ").encode()
