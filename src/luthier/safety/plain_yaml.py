"""YAML that somebody else wrote, read into plain values within bounds.

Aliases are refused: a few lines of them stand for gigabytes. So is what is nested too deeply: the
fast loader of libyaml ends the process there, and the slow one its stack.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_NESTED = 100
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
# Without one of these no text is nested deeply, or has an alias.
_SUSPICIOUS = re.compile(r"(?:[-?] +){20}|^ {100}|(?:^|[\s\[{,:-])[*&][^\s,\]}]", re.MULTILINE)
_MOST_BRACKETS = 100


def load_yaml(text: str) -> Any:
    """The value in a YAML text. yaml.YAMLError for what is no YAML, has aliases or is too deep."""
    brackets = text.count("[") + text.count("{")
    if brackets > _MOST_BRACKETS or _SUSPICIOUS.search(text) is not None:
        _check_events(text)
    try:
        return yaml.load(text, Loader=_LOADER)  # a safe one
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error


def _check_events(text: str) -> None:
    """Read the events of the text one by one, which takes no stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_NESTED:
                raise yaml.YAMLError(f"it is nested more than {MOST_NESTED} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
