"""Tools in words, for a prompt that no template writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.content import ToolSignature
from luthier.models.tool_formats.shape import CallFormat

MOST_CHOICES = 12


def listing(signatures: Sequence[ToolSignature], form: CallFormat) -> str:
    """A line for each tool, and how a call is written."""
    if form.name == "json":
        return "\n".join(["Tools:", *(_lines(s) for s in signatures)])
    lines = [f"- {s.name}({_arguments(s.parameters)}): {s.description}" for s in signatures]
    return "\n".join(["Tools:", *lines, form.how]).strip()


def _lines(signature: ToolSignature) -> str:
    """A line for the tool and one for each argument, as `nano` was trained on."""
    schema = signature.parameters
    required = schema.get("required") or ()
    lines = [f"{signature.name}: {signature.description}"]
    for name, about in (schema.get("properties") or {}).items():
        said = about.get("description", "") if isinstance(about, Mapping) else ""
        optional = "" if name in required else ", optional"
        lines.append(f"- {name} ({_kind(about)}{optional}): {said}")
    return "\n".join(lines)


def _arguments(schema: Mapping[str, Any]) -> str:
    required = schema.get("required") or ()
    properties = schema.get("properties") or {}
    return ", ".join(
        f"{name}{'' if name in required else '?'}: {_kind(about)}{_about(about)}"
        for name, about in properties.items()
    )


def _kind(about: Any) -> str:
    if not isinstance(about, Mapping):
        return "any"
    choices = about.get("enum")
    if isinstance(choices, list) and len(choices) <= MOST_CHOICES:
        return " | ".join(map(str, choices))
    kind = about.get("type", "any")
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    if kind == "array" and isinstance(about.get("items"), Mapping):
        return f"list of {_kind(about['items'])}"
    return str(kind)


def _about(about: Any) -> str:
    said = about.get("description") if isinstance(about, Mapping) else None
    return f" ({said})" if said else ""
