"""How a technique is written: "lora", "few-shot(shots=8)", "few-shot -> lora(rank=4)".

`luthier.registry` knows the techniques by name; this module makes one with its settings, reads it
from a text, and writes it back.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from typing import Any, cast

from luthier import registry
from luthier.errors import TechniqueError, did_you_mean
from luthier.techniques.base import Technique, settings_of


def make(name: str, **settings: Any) -> Technique:
    """The technique of a name, with settings; the rest stays at its default.

    Raises TechniqueError for an unknown name or setting, and for a value out of range.
    """
    kind: type[Technique] = registry.get("techniques", name)
    known = tuple(inspect.signature(kind).parameters)
    for setting in settings:
        if setting not in known:
            raise TechniqueError(
                f"{name} has no setting {setting!r}",
                choices=known,
                next_step=did_you_mean(setting, known),
            )
    try:
        return kind(**settings)
    except TypeError as error:
        # A word where a number belongs: no comparison with a bound is possible.
        given = ", ".join(f"{k}={v!r}" for k, v in settings.items())
        usual = {f.name: f.default for f in dataclasses.fields(cast(Any, kind))}
        raise TechniqueError(
            f"{name}({given}): a value is of the wrong kind ({error})",
            choices=[f"{k}={usual.get(k)!r}" for k in settings],
            next_step=f"These are the defaults; see luthier techniques {name}.",
        ) from error


def parse_technique(text: str) -> Technique:
    """The technique that `text` writes: "lora", "few-shot(shots=8)", "few-shot -> lora(rank=4)".

    Settings are Python literals; a bare word is taken as text. Raises TechniqueError where the text
    cannot be read.
    """
    from luthier.techniques.recipe import ARROW, Recipe

    if ARROW in text:
        return Recipe.parse(text)
    name, bracket, rest = text.strip().partition("(")
    if not bracket:
        return make(name.strip())
    if not rest.endswith(")"):
        raise TechniqueError(f"{text!r} opens a bracket and does not close it")
    return make(name.strip(), **_settings(text, rest[:-1]))


def parse_techniques(text: str) -> tuple[Technique, ...]:
    """Techniques from a list with commas: "zero-shot, few-shot(shots=8, selection=knn), lora"."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return tuple(parse_technique(part) for part in parts if part.strip())


def spell(technique: Technique) -> str:
    """How `parse_technique` would read it: the name, and the settings off their default."""
    if len(technique.chain()) > 1:
        return technique.name
    defaults = {f.name: f.default for f in dataclasses.fields(cast(Any, technique))}
    changed = {k: v for k, v in settings_of(technique).items() if v != defaults[k]}
    if not changed:
        return technique.name
    return f"{technique.name}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"


def _settings(text: str, inside: str) -> dict[str, Any]:
    try:
        call = ast.parse(f"f({inside})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args or any(k.arg is None for k in call.keywords):
            raise ValueError
        return {str(k.arg): _value(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise TechniqueError(
            f"The settings in {text!r} cannot be read",
            next_step="Write them as name(setting=value, setting=value).",
        ) from error


def _value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
