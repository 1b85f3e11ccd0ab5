"""A server of the OpenAI API that does as it is told: it records what it gets, echoes keys, sends
its callers on, and answers with any bytes."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class HostileHandler(BaseHTTPRequestHandler):
    """`got` is what was sent to it, headers and bodies in one text each."""

    got: list = []  # noqa: RUF012 - each server has its own
    says = "hello"  # the answer; {auth} stands for the caller's key
    location = None  # where every call is sent on to
    status = 200
    body = None  # raw bytes in place of a reply
    streams = None  # the pieces of a streamed answer

    def do_GET(self):
        type(self).got.append(f"{self.path} {self.headers}")
        if self.location:
            self.move()
            return
        self.send({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).got.append(f"{self.path} {self.headers}{raw.decode()}")
        if self.location:
            self.move()
            return
        asked = json.loads(raw)
        if self.body is not None:
            self.send_raw(self.body(asked) if callable(self.body) else self.body)
        elif self.status != 200:
            self.send({"error": {"message": self.spoken()}})
        elif self.path.endswith("/embeddings"):
            rows = [{"object": "embedding", "index": i, "embedding": [1.0, 0.5]}
                    for i in range(len(asked["input"]))]  # fmt: skip
            self.send({"object": "list", "data": rows, "model": "m", "usage": {}})
        elif asked.get("stream"):
            self.stream()
        elif self.path.endswith("/chat/completions"):
            message = {"role": "assistant", "content": self.spoken()}
            choices = [{"index": i, "message": message, "finish_reason": "stop"}
                       for i in range(asked.get("n", 1))]  # fmt: skip
            usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
            self.send({"id": "1", "object": "chat.completion", "created": 0, "model": "m",
                       "choices": choices, "usage": usage})  # fmt: skip
        else:
            self.send({"error": {"message": "no such route"}}, 404)

    def spoken(self):
        auth = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        return self.says.replace("{auth}", auth)

    def stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in self.streams:
            choice = {"index": 0, "delta": {"content": piece}}
            chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m",
                     "choices": [choice]}  # fmt: skip
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def move(self):
        self.send_response(307)
        self.send_header("Location", self.location + self.path.removeprefix("/v1"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, value, status=None):
        self.send_raw(json.dumps(value).encode(), status)

    def send_raw(self, data, status=None):
        self.send_response(status or self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextmanager
def hostile_server(**manners):
    """(address, handler class) of a server with these manners."""
    manners = {n: staticmethod(v) if callable(v) else v for n, v in manners.items()}
    handler = type("Handler", (HostileHandler,), {"got": [], **manners})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", handler
    finally:
        server.shutdown()
        server.server_close()
