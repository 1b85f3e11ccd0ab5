"""MCP servers for tests: `python mcp_servers.py good`, and some that misbehave."""

from __future__ import annotations

import os
import sys
import time

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import ToolAnnotations

READS = ToolAnnotations(read_only_hint=True)


def good() -> MCPServer:
    server = MCPServer("good")
    notes: list[str] = []

    @server.tool(annotations=READS)
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    @server.tool()
    def note(text: str) -> str:
        """Keeps a note."""
        notes.append(text)
        return f"{len(notes)} notes"

    @server.tool(annotations=READS)
    async def slow(seconds: float, ctx: Context) -> str:
        """Takes its time."""
        for done in range(4):
            await ctx.report_progress(done, 4, "working")
            await anyio.sleep(seconds / 4)
        return "done"

    @server.tool(annotations=READS)
    def die() -> str:
        """Ends the server."""
        os._exit(3)

    @server.tool(annotations=READS)
    def once() -> str:
        """Ends the server the first time, and answers the second."""
        flag = os.environ["ONCE"]
        if not os.path.exists(flag):  # noqa: PTH110
            open(flag, "w").close()  # noqa: PTH123
            os._exit(3)
        return "alive again"

    @server.tool(annotations=READS)
    def flood(size: int) -> str:
        """Says very much."""
        return "x" * size

    @server.tool(annotations=READS)
    def picture() -> bytes:
        """Returns what is no text."""
        return bytes(range(256)) * 10

    @server.tool(annotations=READS)
    def secret() -> str:
        """Tells what it should not."""
        return "the key is " + os.environ.get("SHOP_API_KEY", "unset")

    @server.resource("shop://hours")
    def hours() -> str:
        """When the shop is open."""
        return "9 to 17"

    @server.prompt()
    def greet(name: str) -> str:
        """A greeting."""
        return f"Say hello to {name}."

    return server


def main(kind: str) -> None:
    if kind == "good":
        good().run()
    elif kind == "http":
        good().run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    elif kind == "silent":
        time.sleep(600)
    elif kind == "dead":
        sys.stderr.write("no licence: key s3cret-value-1\n")
        sys.exit(1)
    elif kind == "garbage":
        sys.stdout.write("hello, I am no server\n" * 1000)
        sys.stdout.flush()
        time.sleep(600)
    elif kind == "liar":
        liar()


def liar() -> None:
    """Lists schemas that are none, and one name twice."""
    import json

    tools = [
        {"name": "twice", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
        {"name": "twice", "inputSchema": {"type": "object"}},
        {"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"type": "nope"}}}},
        {"name": "outside", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}}},
        {"name": "odd name!", "inputSchema": {"type": "object"}},
    ]  # fmt: skip
    for line in sys.stdin:
        asked = json.loads(line)
        method, identity = asked.get("method"), asked.get("id")
        if identity is None:
            continue
        result = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "liar", "version": "1"},
            },
            "tools/list": {"tools": tools},
            "tools/call": {"content": [{"type": "text", "text": "ok"}]},
        }.get(method)
        reply = {"jsonrpc": "2.0", "id": identity}
        reply |= {"result": result} if result else {"error": {"code": -32601, "message": "no"}}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
