"""Luthier as an MCP server: search an index, ask an adapted model, compare, read a report; and any
tools that are named, offered on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.errors import LuthierError
from luthier.tools import Tool, Toolbox
from luthier.tools.result_text import result_text
from luthier.tools.secret_texts import redacted

MOST_CHARACTERS = 20_000
TEXT = {"type": "string", "minLength": 1}


def own_tools() -> list[Tool]:
    """What Luthier itself offers."""
    return [
        _tool("search_index", "Finds passages in an index that luthier index made.",
              {"index": TEXT, "query": TEXT, "count": {"type": "integer", "minimum": 1,
                                                      "maximum": 20}},
              ("index", "query"), _search),
        _tool("ask_model", "Asks an adapted model: a technique's folder, a run folder, or a name.",
              {"model": TEXT, "question": TEXT}, ("model", "question"), _ask),
        _tool("read_report", "Reads the table and the verdict of a finished comparison.",
              {"run": TEXT}, ("run",), _report),
        _tool("compare", "Compares techniques on a task, within a budget (300ktok, 5m).",
              {"task": TEXT, "model": TEXT, "techniques": TEXT, "budget": TEXT, "out": TEXT},
              ("task", "budget"), _compare, effects=True),
    ]  # fmt: skip


def serve(box: Toolbox | None, *, over: str, port: int) -> None:
    """Answer on stdio, or on a port of this machine, until the other side leaves."""
    server = mcp_server([*own_tools(), *(box.tools if box is not None else ())], box)
    if over == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=port)


def mcp_server(tools: Sequence[Tool], box: Toolbox | None = None) -> Any:
    """The server of some tools; those of `box` run under its permissions and limits."""
    import anyio
    from mcp.server import Server
    from mcp_types import (
        CallToolRequestParams,
        CallToolResult,
        ListToolsResult,
        TextContent,
        ToolAnnotations,
    )
    from mcp_types import Tool as ListedTool

    from luthier.content import ToolCall
    from luthier.tools import ToolLimits, ToolSource

    known = {tool.name: tool for tool in tools}
    own = Toolbox(
        [ToolSource(tuple(t for t in tools if box is None or box.get(t.name) is not t))],
        limits=ToolLimits(seconds=7_200, call_seconds=3_600, result_characters=MOST_CHARACTERS),
    )
    # The other side's user confirms: what changes things says so, and runs when it is called.
    own = own.under(permissions=_allowing(own))

    async def list_tools(context: Any, params: Any) -> ListToolsResult:
        listed = [
            ListedTool(
                name=tool.name,
                description=tool.description,
                input_schema=dict(tool.parameters),
                annotations=ToolAnnotations(
                    read_only_hint=not tool.effects, open_world_hint=tool.outward
                ),
            )
            for tool in known.values()
        ]
        return ListToolsResult(tools=listed)

    async def call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
        place = box if box is not None and box.get(params.name) is not None else own
        call = ToolCall(params.name, params.arguments or {})
        result = (await anyio.to_thread.run_sync(lambda: place.start("").run([call])))[0]
        content = [TextContent(type="text", text=result.text)]
        return CallToolResult(content=list(content), is_error=result.failed)

    return _Runner(Server("luthier", on_list_tools=list_tools, on_call_tool=call_tool))


class _Runner:
    """The SDK's low-level server with the two ways to run it."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def run(self, transport: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Serve on stdio, or over HTTP."""
        import anyio

        if transport == "stdio":
            anyio.run(self._stdio)
            return
        import uvicorn

        app = self.server.streamable_http_app(host=host)
        uvicorn.run(app, host=host, port=port, log_level="warning")

    async def _stdio(self) -> None:
        from mcp.server.stdio import stdio_server

        async with stdio_server() as (read, write):
            await self.server.run(read, write, self.server.create_initialization_options())


def _allowing(box: Toolbox) -> Any:
    from luthier.tools import Permissions

    return Permissions(frozenset(tool.name for tool in box.tools))


def _tool(
    name: str, description: str, properties: Mapping[str, Any], required: Sequence[str], run: Any,
    *, effects: bool = False,
) -> Tool:  # fmt: skip
    def told(arguments: Mapping[str, Any]) -> str:
        from luthier.cli.console import only_data_on_stdout
        from luthier.tools.toolbox import ToolFailure

        try:
            with only_data_on_stdout():
                return result_text(run(**arguments), most=MOST_CHARACTERS)
        except LuthierError as error:
            raise ToolFailure(redacted(str(error))) from error

    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
    return Tool(name, description, schema, told, effects=effects, private=True, origin="luthier")


def _search(index: str, query: str, count: int = 5) -> str:
    from luthier.retrieval import SearchSettings, open_index

    opened = open_index(index)
    mode: Any = "hybrid" if opened.facts.dimension else "lexical"
    hits = opened.search([query], SearchSettings(k=count, mode=mode))[0]
    return "\n\n".join(f"[{h.rank}] {h.passage.place}\n{h.passage.text}" for h in hits)


def _ask(model: str, question: str) -> str:
    from luthier.compare.run_folder import pick_folder
    from luthier.models.load import load

    return load(pick_folder(model)).respond(question).answer


def _report(run: str) -> str:
    from luthier.compare.comparison import Comparison

    return json.dumps(Comparison.load(Path(run)).to_json(), ensure_ascii=False)


def _compare(
    task: str, budget: str, model: str = "nano", techniques: str = "", out: str = ""
) -> str:
    from luthier.compare.run_comparison import compare

    found = compare(
        task, model, techniques=techniques or None, budget=budget, seeds=1, out=out or None
    )
    return json.dumps(found.to_json(), ensure_ascii=False)
