"""`luthier tools`: what a model may call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.shared_options import PrintJson

if TYPE_CHECKING:
    from luthier.tools import Toolbox


def tools(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tools to open and list (sql:shop.db, mcp:COMMAND), or a task with tools.",
            show_default=False,
        ),
    ] = None,
    as_json: PrintJson = False,
) -> None:
    """List the kinds of tools, or the tools behind addresses, with what each may do."""
    from luthier.cli.console import print_json
    from luthier.tools.open_tools import tool_cards

    if addresses:
        _list_opened(addresses, as_json=as_json)
        return
    cards = tool_cards()
    if as_json:
        from dataclasses import asdict

        print_json({"tools": {name: asdict(card) for name, card in cards.items()}})
        return
    for name, card in cards.items():
        typer.echo(f"{name}\n  {card.does}\n  may {card.may}\n  needs {card.needs}")
        typer.echo(f"  luthier ask nano … --tool {_quoted(card.example)}")


def _list_opened(addresses: list[str], *, as_json: bool) -> None:
    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.tools import open_toolbox

    with only_data_on_stdout(), open_toolbox(task_tools(addresses)) as box:
        if as_json:
            print_json(_as_json(box))
        else:
            for tool in box.tools:
                names = ", ".join(tool.parameters.get("properties", {}))
                typer.echo(f"{tool.name}({names})\n  {tool.description}\n  {tool.may}")
        for note in box.notes:
            talk().print(f"note: {note}", markup=False, soft_wrap=True)


def task_tools(addresses: list[str]) -> list[str]:
    """Addresses, with those of a task file (or of a bundled task) in place of its name."""
    from luthier import registry
    from luthier.task.bundled import bundled_names

    found: list[str] = []
    for address in addresses:
        is_file = address.endswith((".yaml", ".yml")) or address in bundled_names()
        if is_file and registry.addressed("tools", address) is None:
            from luthier.task.find_task_file import find_task_file
            from luthier.task.task_file import read_task_file

            found += read_task_file(find_task_file(address)).tools
        else:
            found.append(address)
    return found


def _as_json(box: Toolbox) -> dict[str, Any]:
    listed = [
        {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "effects": tool.effects,
            "private": tool.private,
            "outward": tool.outward,
            "origin": tool.origin,
        }
        for tool in box.tools
    ]
    return {"tools": listed, "notes": list(box.notes)}


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text else text
