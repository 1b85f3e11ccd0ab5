"""Tools on the command line: they are opened, the user is asked, and the calls are shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from luthier.content import Response
    from luthier.models.model import Model
    from luthier.tools import Tool, ToolLimits

SHOWN = 300  # characters of a result in a trace


def respond_with(
    model: Model, question: str, *, context: str | None, tools: Sequence[str],
    allow: Sequence[str], limits: ToolLimits | None = None,
) -> Response:  # fmt: skip
    """The response of a model that may call the tools behind some addresses."""
    from luthier.cli.commands.tools import task_tools
    from luthier.cli.console import talk
    from luthier.tools import Permissions, open_toolbox

    asks = sys.stdin.isatty() and sys.stderr.isatty()
    permissions = Permissions(frozenset(allow), confirm if asks else None)
    with open_toolbox(task_tools(list(tools)), permissions=permissions, limits=limits) as box:
        for note in box.notes:
            talk().print(f"note: {note}", markup=False, soft_wrap=True)
        return model.respond(question, context=context, tools=box)


def limits_for(model: Model, text: str, prices: str | None = None) -> ToolLimits:
    """The limits that were asked for. Where money is limited and no prices are written beside it,
    the price book says what the model's tokens cost."""
    from luthier.compare.costs.prices import read_prices
    from luthier.tools.read_limits import read_limits, split_limits

    values: dict[str, Any] = dict(split_limits(text))
    if "money" in values and "prices" not in values:
        price = read_prices(prices).of(model.backend.name, remote=model.backend.facts.remote)
        if price.input is not None and price.output is not None:
            values["prices"] = (price.input * 1e6, price.output * 1e6)
    return read_limits(values)


def confirm(tool: Tool, arguments: Mapping[str, Any], why: str) -> bool:
    """Ask the user, on stderr, whether a call may run."""
    import json

    from luthier.tools.result_text import printable
    from luthier.tools.secret_texts import redacted

    shown = printable(redacted(json.dumps(dict(arguments), ensure_ascii=False)))
    return typer.confirm(f"{why}. Call {tool.name}({shown})?", default=False, err=True)


def show_trace(response: Response) -> None:
    """The calls and their results, a line each, on stderr."""
    from luthier.cli.console import talk
    from luthier.tools.secret_texts import redacted

    for step in response.steps:
        took = "" if step.seconds is None else f"  ({step.seconds * 1000:.0f} ms)"
        said = redacted(step.result if len(step.result) <= SHOWN else f"{step.result[:SHOWN]}…")
        talk().print(f"→ {redacted(step.call.text)}{took}", markup=False, soft_wrap=True)
        mark = "✗" if step.failed else "←"
        talk().print(f"{mark} {said}", markup=False, soft_wrap=True)
    if response.stopped:
        talk().print(f"stopped: {response.stopped}", markup=False, soft_wrap=True)
    if not response.steps:
        talk().print("no tool was called", markup=False, soft_wrap=True)


def steps_json(response: Response) -> list[dict[str, Any]]:
    """The calls and their results as `luthier ask --json` prints them."""
    from luthier.tools.secret_texts import redacted, redacted_value

    return [
        {
            "tool": step.name,
            "arguments": redacted_value(dict(step.arguments)),
            "result": redacted(step.result),
            "failed": step.failed,
            "seconds": step.seconds,
        }
        for step in response.steps
    ]
