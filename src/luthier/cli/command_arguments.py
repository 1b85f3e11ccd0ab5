"""The arguments of a command as they would be typed again."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def arguments_of(context: typer.Context, *, left_out: Collection[str] = ()) -> tuple[str, ...]:
    """What was given to the command that runs, options that stand at their defaults left out.

    `left_out` names parameters of the function that do not count.
    """
    found: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        if name in left_out or value is None or value == parameter.default:
            continue
        if parameter.param_type_name == "argument":
            found.append(str(value))
        elif isinstance(value, bool):
            found.append(parameter.opts[0])
        else:
            found += [parameter.opts[0], str(value)]
    return tuple(found)
