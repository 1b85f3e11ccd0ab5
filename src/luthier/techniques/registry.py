"""From a name to a technique: ours, and those that installed plugins bring.

A plugin announces a technique in its pyproject.toml:

    [project.entry-points."luthier.techniques"]
    my-technique = "my_package.my_module:MyTechnique"
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from luthier.errors import TechniqueError, did_you_mean
from luthier.techniques.base import Technique, settings_of

GROUP = "luthier.techniques"
BUILT_IN: Mapping[str, str] = {
    "zero-shot": "luthier.techniques.prompt.zero_shot:ZeroShot",
    "few-shot": "luthier.techniques.prompt.few_shot:FewShot",
    "prompt-search": "luthier.techniques.prompt.prompt_search:PromptSearch",
    "soft-prompt": "luthier.techniques.soft.soft_prompt:SoftPrompt",
    "prefix": "luthier.techniques.soft.prefix_tuning:PrefixTuning",
    "lora": "luthier.techniques.adapter.lora:LoRA",
    "ia3": "luthier.techniques.adapter.ia3:IA3",
    "full": "luthier.techniques.weights.full_fine_tuning:Full",
    "rag": "luthier.techniques.rag.rag:RAG",
    "raft": "luthier.techniques.rag.raft:RAFT",
    "query-map": "luthier.techniques.rag.query_map:QueryMap",
}


def technique_names() -> tuple[str, ...]:
    """The names of all techniques, ours first; nothing is imported for it."""
    return (*BUILT_IN, *sorted(_plugins()))


def technique_class(name: str) -> type[Technique]:
    """The class behind a name. TechniqueError, with what was meant, for a name there is not."""
    key = name.strip().lower().replace("_", "-")
    if key in BUILT_IN:
        module, _, attribute = BUILT_IN[key].partition(":")
        return cast(type[Technique], getattr(import_module(module), attribute))
    plugin = _plugins().get(key)
    if plugin is None:
        names = technique_names()
        raise TechniqueError(
            f"There is no technique {name!r}",
            choices=names,
            next_step=did_you_mean(key, names) or 'A recipe is written "few-shot -> lora".',
        )
    return _opened(key, plugin)


def all_techniques() -> dict[str, type[Technique]]:
    """Every technique by name. A plugin that cannot be imported is left out (`make` says why)."""
    found: dict[str, type[Technique]] = {}
    for name in technique_names():
        try:
            found[name] = technique_class(name)
        except TechniqueError:
            continue
    return found


def make(name: str, **settings: Any) -> Technique:
    """The technique of a name, with settings; the rest stays at its default.

    Raises TechniqueError for an unknown name or setting, and for a value out of range.
    """
    kind = technique_class(name)
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

    Settings are Python literals; a bare word is taken as text. TechniqueError where it cannot be
    read.
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


@lru_cache(maxsize=1)
def _plugins() -> Mapping[str, EntryPoint]:
    """Announced plugins; one that takes the name of a technique of ours is passed over."""
    return {p.name: p for p in entry_points(group=GROUP) if p.name not in BUILT_IN}


def _opened(name: str, plugin: EntryPoint) -> type[Technique]:
    try:
        found = plugin.load()
    except Exception as error:
        raise TechniqueError(
            f"The plugin technique {name!r} ({plugin.value}) could not be imported: "
            f"{type(error).__name__}: {error}",
            next_step="Mend or remove the package that brings it.",
        ) from error
    contract = ("name", "family", "needs", "trained", "card", "fit")
    missing = [attribute for attribute in contract if not hasattr(found, attribute)]
    if missing:
        raise TechniqueError(
            f"The plugin technique {name!r} ({plugin.value}) lacks {', '.join(missing)}",
            next_step="See luthier.techniques.base.Technique for what it must have.",
        )
    return cast(type[Technique], found)
