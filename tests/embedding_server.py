"""A server on this machine that speaks the OpenAI protocol's /embeddings."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np


def bag_of_words(text: str, width: int, seed: int) -> list[float]:
    """The sum of one random vector a word: texts that share words are near each other."""
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split() or ["-"]
    drawn = [
        np.random.default_rng([zlib.crc32(w.encode()), seed]).normal(size=width) for w in words
    ]
    return [float(x) for x in np.sum(drawn, axis=0) * 3]  # of no particular length


class Handler(BaseHTTPRequestHandler):
    """Attributes of the class say how it behaves; `asked` is what it was asked to embed."""

    width, seed, broken = 64, 0, ""
    asked: list[str] = []  # noqa: RUF012 - shared on purpose

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked += body["input"]
        if body["model"] != "words":
            self._send(404, {"error": {"message": f"no model {body['model']}"}})
        elif self.broken:
            self._send(200, json.loads(self.broken))
        else:
            rows = [
                {"object": "embedding", "index": i,
                 "embedding": bag_of_words(t, self.width, self.seed)}
                for i, t in enumerate(body["input"])
            ]  # fmt: skip
            self._send(200, {"object": "list", "data": rows[::-1], "model": "words",
                             "usage": {"prompt_tokens": 1, "total_tokens": 1}})  # fmt: skip

    def _send(self, code: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def embedding_server() -> Iterator[tuple[str, type[Handler]]]:
    """Its address with the model's name, and the class that says how it behaves."""
    handler = type("Own", (Handler,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1#words", handler
    finally:
        server.shutdown()
        server.server_close()
