"""What an MCP server offers, as tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from luthier.errors import UserError, from_extra
from luthier.tools.arguments import checked_schema_of
from luthier.tools.mcp_client.mcp_address import parse_address
from luthier.tools.mcp_client.mcp_connection import McpConnection
from luthier.tools.secret_texts import redacted
from luthier.tools.tool import Tool, ToolCard, ToolSource, usable_name
from luthier.tools.toolbox import ToolFailure

MOST_TOOLS = 200
LONGEST_DESCRIPTION = 1_000


class McpServer:
    """Kind of tools: `mcp:COMMAND` starts a server, `mcp:http://…` connects to one."""

    card: ClassVar[ToolCard] = ToolCard(
        does="offers what an MCP server offers: its tools, resources and prompts",
        may="do what that server does; what does not say that it only reads asks first",
        needs="luthier[tools], and what starts the server (npx, uvx, a program), or its address",
        example="mcp:npx -y @modelcontextprotocol/server-everything",
    )

    @classmethod
    def open(cls, address: str) -> ToolSource:
        """Start or reach the server and list its tools. UserError where it cannot be used."""
        with from_extra("tools", "mcp needs its SDK"):
            import mcp  # noqa: F401
        connection = McpConnection(parse_address(address))
        try:
            connection.open()
            tools, notes = _tools(connection)
        except ToolFailure as failure:
            connection.close()
            raise UserError(
                f"the MCP server {connection.address.label} does not list its tools: {failure}",
                next_step="Look at the server's own log.",
            ) from failure
        except BaseException:
            connection.close()
            raise
        return ToolSource(tools, close=connection.close, notes=notes)


def _tools(connection: McpConnection) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """The tools that can be used, and notes on those that cannot."""
    label = connection.address.label
    tools: dict[str, Tool] = {}
    notes: list[str] = []
    for listed in _pages(connection, "list_tools", "tools"):
        name = usable_name(listed.name)
        try:
            schema = checked_schema_of(listed.input_schema, of=name)
        except UserError as error:
            notes.append(f"{label}: {error.problem}; it is left out.")
            continue
        if name in tools:
            notes.append(f"{label} lists {name} twice; the first one is used.")
            continue
        tools[name] = _tool(connection, listed, name, schema)
    tools |= {t.name: t for t in _readers(connection) if t.name not in tools}
    return tuple(tools.values()), tuple(notes)


def _pages(connection: McpConnection, method: str, part: str) -> list[Any]:
    """All pages of a list, as far as anyone needs them."""
    found: list[Any] = []
    cursor = None
    while len(found) < MOST_TOOLS:
        settings: dict[str, Any] = {"cursor": cursor} if cursor else {}
        page = connection.ask(lambda client, s=settings: getattr(client, method)(**s))  # type: ignore[misc]
        new = list(getattr(page, part))
        found += new
        cursor = getattr(page, "next_cursor", None)
        if not cursor or not new:
            break
    return found[:MOST_TOOLS]


def _tool(connection: McpConnection, listed: Any, name: str, schema: Mapping[str, Any]) -> Tool:
    reads = bool(listed.annotations and listed.annotations.read_only_hint)
    told, own = (listed.description or listed.title or "")[:LONGEST_DESCRIPTION], listed.name

    def run(arguments: Mapping[str, Any]) -> str:
        result = connection.call(own, dict(arguments), repeatable=reads)
        text = content_words(result)
        if result.is_error:
            raise ToolFailure(redacted(text) or "The tool failed and did not say why.")
        return text

    return Tool(
        name, " ".join(told.split()), schema, run, effects=not reads, private=True, outward=True,
        origin=f"mcp:{connection.address.label}",
    )  # fmt: skip


def content_words(result: Any) -> str:
    """What a result says: its texts; of pictures and files only their kind."""
    words = [_part_words(part) for part in result.content]
    if not words and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(words)


def _part_words(part: Any) -> str:
    if part.type == "text":
        return str(part.text)
    if part.type == "resource":
        text = getattr(part.resource, "text", None)
        return str(text) if text is not None else f"(a file: {part.resource.uri})"
    if part.type == "resource_link":
        return f"({part.name}: {part.uri})"
    return f"(a part of kind {part.type} that is no text)"


def _readers(connection: McpConnection) -> list[Tool]:
    """Tools that read the server's resources and prompts, where it has some."""
    found = []
    resources = _offered(connection, "list_resources", "resources")
    if resources:
        uris = [str(r.uri) for r in resources]
        listed = "; ".join(f"{uri} ({r.name})" for uri, r in zip(uris, resources, strict=True))
        found.append(
            _reader(connection, "read_resource", f"Reads one of: {listed[:LONGEST_DESCRIPTION]}",
                    {"uri": {"type": "string"}},
                    lambda c, a: c.read_resource(str(a["uri"])), _resource_words)
        )  # fmt: skip
    prompts = _offered(connection, "list_prompts", "prompts")
    if prompts:
        names = "; ".join(f"{p.name} ({p.description or ''})" for p in prompts)
        found.append(
            _reader(connection, "get_prompt", f"Gets one of: {names[:LONGEST_DESCRIPTION]}",
                    {"name": {"enum": [p.name for p in prompts]},
                     "arguments": {"type": "object", "additionalProperties": {"type": "string"}}},
                    lambda c, a: c.get_prompt(str(a["name"]), dict(a.get("arguments") or {})),
                    lambda r: "\n".join(_part_words(m.content) for m in r.messages))
        )  # fmt: skip
    return found


def _offered(connection: McpConnection, method: str, part: str) -> list[Any]:
    try:
        return _pages(connection, method, part)
    except ToolFailure:
        return []  # the server does not know the method


def _reader(
    connection: McpConnection, name: str, description: str, properties: Mapping[str, Any],
    ask: Any, words: Any,
) -> Tool:  # fmt: skip
    def run(arguments: Mapping[str, Any]) -> str:
        return str(words(connection.ask(lambda client: ask(client, arguments))))

    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": [next(iter(properties))],
        "additionalProperties": False,
    }
    return Tool(
        name, description, schema, run, private=True, outward=True,
        origin=f"mcp:{connection.address.label}",
    )  # fmt: skip


def _resource_words(result: Any) -> str:
    texts = [getattr(part, "text", None) for part in result.contents]
    return "\n".join(t if t is not None else "(a part that is no text)" for t in texts)
