"""Replies of a server that are kept, so that a resumed comparison does not pay twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luthier.ledger.cache import ResponseCache, response_key
from luthier.models.endpoint_calls import calling

_LOCK = threading.Lock()


@dataclass(frozen=True)
class KeptReplies:
    """The replies of one backend by the body that was sent, its kind and the seed.

    `name` is that of the backend, which tells servers apart; `cache` is None where nothing is kept.
    """

    name: str
    url: str
    cache: ResponseCache | None

    def ask(self, kind: str, body: dict[str, Any], seed: int, call: Callable[[], Any]) -> Any:
        """The reply that is kept, else what `call` returns, which is kept from then on."""
        reply = self.get(kind, body, seed)
        if reply is None:
            with calling(self.url):
                reply = call()
            self.keep(kind, body, seed, reply)
        return reply

    def get(self, kind: str, body: dict[str, Any], seed: int) -> Any:
        """The reply that is kept; None where there is none."""
        if self.cache is None:
            return None
        with _LOCK:
            text = self.cache.get(self._key(kind, body, seed))
        return None if text is None else dict(json.loads(text))

    def keep(self, kind: str, body: dict[str, Any], seed: int, reply: Any) -> None:
        """Keep a reply, unless it says nothing: that is worth asking again."""
        if self.cache is not None and all(text.strip() for text in reply.get("texts", ())):
            with _LOCK:
                self.cache.put(self._key(kind, body, seed), json.dumps(reply))

    def _key(self, kind: str, body: dict[str, Any], seed: int) -> str:
        return response_key(model=self.name, prompt=body, decoding=kind, seed=seed)
