"""The gate: every request passes it, before and after the application.

It checks the host, the origin, the key and its role, how often the client asks and how much it
sends, and it sets the headers and writes the audit log. A handler finds who asks as
`request.state.holder` (a `KeyHolder`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luthier.serving.api_errors import ApiError
from luthier.serving.guard.api_keys import ApiKeys, KeyHolder, Role
from luthier.serving.guard.audit_log import AuditLog
from luthier.serving.guard.browser_safety import HEADERS, UNSAFE, foreign_origin, wrong_host
from luthier.serving.guard.rate_limits import RateLimits

OWN_HEADERS = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())
OPEN_PATHS = ("/healthz", "/readyz")
ANYONE = KeyHolder("anyone", "admin")  # where there are no keys, this machine alone can ask
MOST_BYTES = 8 << 20
BODY_SECONDS = 30.0  # between two pieces of a body


@dataclass(frozen=True, slots=True)
class GateRules:
    """What the gate holds requests to. `keys` None: anyone may ask. `hosts` None: under any name.
    `most_bytes` is the largest body, `body_seconds` the longest pause within one."""

    keys: ApiKeys | None = None
    hosts: frozenset[str] | None = None
    rates: RateLimits = field(default_factory=lambda: RateLimits(None))
    most_bytes: int = MOST_BYTES
    body_seconds: float = BODY_SECONDS
    audit: AuditLog = field(default_factory=lambda: AuditLog(None))


class Gate:
    """ASGI middleware over `GateRules`."""

    def __init__(self, app: ASGIApp, rules: GateRules) -> None:
        self.app, self.rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        state = scope.setdefault("state", {})

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (n.encode(), v.encode())
                        for n, v in HEADERS.items()
                        if n.encode() not in there
                    ),
                ]
            await send(message)

        holder: KeyHolder | None = None
        try:
            holder = self.admitted(scope, headers)
            state["holder"] = holder
            await self.app(scope, self.limited(receive, headers), sending)
        except ApiError as error:
            if status == 0:
                reply = JSONResponse(error.body, error.status, headers=error.headers)
                await reply(scope, receive, sending)
        finally:
            if scope["path"] not in OPEN_PATHS:
                self.rules.audit.write(
                    who=None if holder is None else holder.name,
                    method=scope["method"], path=scope["path"], model=state.get("model"),
                    status=status, ms=round(1000 * (time.perf_counter() - started), 1),
                )  # fmt: skip

    def admitted(self, scope: Scope, headers: dict[str, str]) -> KeyHolder:
        """Who asks. ApiError where they may not, or not now."""
        rules, host = self.rules, headers.get("host", "")
        if wrong_host(host, rules.hosts):
            raise ApiError(403, f"This server is not {host!r}.", code="wrong_host")
        if foreign_origin(scope["method"], host, headers):
            raise ApiError(403, "Pages of another origin may not send here.", code="wrong_origin")
        holder = ANYONE
        if rules.keys is not None and scope["path"] not in OPEN_PATHS:
            found = rules.keys.find(sent_key(headers))
            if found is None:
                raise ApiError(
                    401, "Incorrect API key provided.", code="invalid_api_key",
                    headers={"WWW-Authenticate": 'Basic realm="Luthier"'},
                )  # fmt: skip
            holder = found
        role = role_for(scope["method"], scope["path"])
        if not holder.may(role):
            raise ApiError(
                403, f"This needs the role {role}, and {holder.name} has {holder.role}.",
                kind="permission_error", code="insufficient_role",
            )  # fmt: skip
        client = holder.name if rules.keys is not None else str((scope.get("client") or ("",))[0])
        wait = 0 if scope["path"] in OPEN_PATHS else rules.rates.wait_seconds(client)
        if wait:
            raise ApiError(
                429, f"Rate limit reached: {rules.rates.per_minute} requests a minute.",
                kind="rate_limit_error", code="rate_limit_exceeded",
                headers={"Retry-After": str(wait)},
            )  # fmt: skip
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > rules.most_bytes:
            raise self.too_large()
        return holder

    def too_large(self) -> ApiError:
        """The error for a body beyond the limit."""
        return ApiError(
            413, f"A body has at most {self.rules.most_bytes:,} bytes.", code="too_large"
        )

    def limited(self, receive: Receive, headers: dict[str, str]) -> Receive:
        """`receive`, which ends where a body is too long or comes too slowly."""
        count, whole = 0, False

        async def receiving() -> Message:
            nonlocal count, whole
            if whole:  # nothing more comes but the news that the client has gone
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self.rules.body_seconds)
            except TimeoutError as error:
                raise ApiError(408, "The body comes too slowly.", code="timeout") from error
            count += len(message.get("body", b""))
            if count > self.rules.most_bytes:
                raise self.too_large()
            whole = not message.get("more_body", False)
            return message

        return receiving


def role_for(method: str, path: str) -> Role:
    """The role that a request needs."""
    if path.startswith("/admin"):
        return "admin"
    if path.startswith("/v1/") or method not in UNSAFE:
        return "use"
    return "annotate"


def sent_key(headers: dict[str, str]) -> str:
    """The key of a request: a bearer token, or the password of a browser's login."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def require(request: Any, role: Role) -> KeyHolder:
    """Who asks, for a handler that needs a role. ApiError 403 without it."""
    holder: KeyHolder = request.state.holder
    if not holder.may(role):
        raise ApiError(403, f"This needs the role {role}.", kind="permission_error")
    return holder
