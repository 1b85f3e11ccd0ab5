"""Web servers for tests: pages, a search engine, a booking service, and replies of any kind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Asked:
    """A request that a server saw."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """A server, and what it was asked."""

    url: str
    port: int
    asked: list[Asked] = field(default_factory=list)


Reply = Callable[[Asked], tuple[int, dict[str, str], bytes]]


@contextmanager
def serving(reply: Reply) -> Iterator[Web]:
    """A server on a free port of 127.0.0.1, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            asked = Asked(
                self.command, parts.path, parse_qs(parts.query),
                {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length),
            )  # fmt: skip
            web.asked.append(asked)
            status, headers, body = reply(asked)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:
                return

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _any  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    port = server.server_address[1]
    web = Web(f"http://127.0.0.1:{port}", port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()


def json_reply(value: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    """A value as JSON."""
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


def page(html: str) -> tuple[int, dict[str, str], bytes]:
    """A page."""
    return 200, {"content-type": "text/html; charset=utf-8"}, html.encode()


BOOKING: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Rooms", "version": "1"},
    "servers": [{"url": "http://127.0.0.1:1"}],
    "paths": {
        "/rooms": {
            "get": {
                "operationId": "listRooms",
                "summary": "Lists free rooms.",
                "parameters": [
                    {"name": "day", "in": "query", "required": True, "schema": {"type": "string"}},
                    {"$ref": "#/components/parameters/Beds"},
                ],
            }
        },
        "/rooms/{room}/bookings": {
            "post": {
                "operationId": "bookRoom",
                "summary": "Books a room.",
                "parameters": [
                    {"name": "room", "in": "path", "required": True, "schema": {"type": "integer"}}
                ],
                "security": [{"key": []}],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Booking"}}
                    },
                },
            }
        },
        "/broken": {"get": {"operationId": "broken", "parameters": [{"$ref": "#/nowhere"}]}},
        "/outside": {"get": {"operationId": "outside", "parameters": [{"$ref": "x.json#/a"}]}},
        "/upload": {
            "post": {"operationId": "upload", "requestBody": {"content": {"image/png": {}}}}
        },
    },
    "components": {
        "parameters": {
            "Beds": {"name": "beds", "in": "query", "schema": {"type": "integer", "minimum": 1}}
        },
        "schemas": {
            "Booking": {
                "type": "object",
                "required": ["guest"],
                "properties": {
                    "guest": {"type": "string"},
                    "with": {"$ref": "#/components/schemas/Booking"},
                },
            }
        },
        "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-key"}},
    },
}
