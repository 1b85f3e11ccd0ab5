"""A service behind an OpenAPI specification, as tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

from luthier.errors import UserError, from_extra
from luthier.tools.openapi.credentials import with_credentials
from luthier.tools.openapi.operations import READING, Operation, operations
from luthier.tools.openapi.specification import Specification, read_specification
from luthier.tools.tool import Tool, ToolCard, ToolSource
from luthier.tools.toolbox import ToolFailure
from luthier.tools.web.address_guard import is_public

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class OpenApiService:
    """Kind of tools: `openapi:FILE`, `openapi:http://…/openapi.json`; `openapi:FILE#SERVER` says
    where the service is."""

    card: ClassVar[ToolCard] = ToolCard(
        does="makes each operation of an OpenAPI 3 specification a tool",
        may="ask that service; what is no GET asks first",
        needs="luthier[tools]; credentials in variables such as LUTHIER_OPENAPI_APIKEY",
        example="openapi:./booking.json",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """The operations. UserError where the specification cannot be used."""
        with from_extra("tools", "openapi needs httpx"):
            from luthier.tools.web.guarded_http import GuardedHttp
        where, _, server = address.partition("#")
        if not where:
            raise UserError("openapi names no specification", next_step="Write openapi:FILE.json.")
        spec = read_specification(where, server=server)
        found, notes = operations(spec)
        if not found:
            why = " ".join(notes) or "it lists none"
            raise UserError(
                f"{where} has no operation that can be called: {why}",
                next_step="Look at its paths.",
            )
        client = GuardedHttp(_trusted(spec, named=bool(server)), same_host=True)
        listed = spec.content.get("components") or {}
        schemes = listed.get("securitySchemes") if isinstance(listed, Mapping) else None
        tools = tuple(_tool(client, spec, one, schemes or {}) for one in found)
        return ToolSource(tools, close=client.close, notes=notes)


def _trusted(spec: Specification, *, named: bool) -> list[tuple[str, int]]:
    """The server, where it may lie in a private network: the user named it, or a file of this
    machine says that it runs here."""
    parts = urlsplit(spec.servers[0])
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if named or is_public(host) or (spec.local and host in LOOPBACK):
        return [(host, port)]
    where = urlsplit(spec.where)
    same = not spec.local and where.hostname == host
    return [(host, port)] if same else []


def _tool(client: Any, spec: Specification, one: Operation, schemes: Mapping[str, Any]) -> Tool:
    base = spec.servers[0]

    def run(arguments: Mapping[str, Any]) -> str:
        url, headers, content = one.request(base, arguments)
        url, headers = with_credentials(url, headers, alternatives=one.security, schemes=schemes)
        headers = {"accept": "application/json, text/*;q=0.5", **headers}
        reply = client.ask(one.method.upper(), url, headers=headers, content=content)
        text = reply.text or (f"({reply.binary:,} bytes that are no text)" if reply.binary else "")
        if reply.status >= 400:
            raise ToolFailure(f"The service answers with status {reply.status}: {text[:500]}")
        return text or f"(status {reply.status}, without a text)"

    return Tool(
        one.name, one.description or f"{one.method.upper()} {one.path}", one.parameters, run,
        effects=one.method not in READING, private=True, outward=True,
        origin=f"openapi:{spec.where}",
    )  # fmt: skip
