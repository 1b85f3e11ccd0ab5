"""`luthier mcp`: Luthier as an MCP server."""

from __future__ import annotations

from typing import Annotated

import typer


def mcp(
    tool: Annotated[
        list[str] | None,
        typer.Option(
            help="Tools to offer on, several times: see luthier tools.", show_default=False
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="One of them that may change things.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Serve over HTTP on this port of 127.0.0.1, instead of on stdio."),
    ] = None,
) -> None:
    """Serve MCP: search an index, ask an adapted model, compare, read a report."""
    from luthier.cli.commands.tools import task_tools
    from luthier.cli.mcp_server import serve
    from luthier.errors import from_extra
    from luthier.tools import Permissions, open_toolbox

    with from_extra("tools", "mcp needs its SDK"):
        import mcp as sdk  # noqa: F401
    over = "stdio" if port is None else "http"
    if not tool:
        serve(None, over=over, port=port or 0)
        return
    permissions = Permissions(frozenset(allow or ()))
    with open_toolbox(task_tools(tool), permissions=permissions) as box:
        serve(box, over=over, port=port or 0)
