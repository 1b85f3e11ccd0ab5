"""Call match: whether the calls that were run are those that the example names.

The comparison is that of BFCL's AST match (Patil et al. 2025, gorilla.cs.berkeley.edu): the same
functions with the same arguments, in any order, where texts count without case, spaces and
punctuation. Where no call is needed, none may be made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.content import ToolCall
from luthier.models.json_reading import read_json
from luthier.records import SampleScore
from luthier.scoring.scorer import Scorer

_LOOSE = re.compile(r"[ ,./\\\-_*^]")


def call_match(sample: SampleScore) -> float:
    """1 where the calls match, 0 where they do not. Where the example names none, its target may be
    the calls themselves."""
    if sample.wanted_calls is None:
        return written_calls_match(sample.prediction or "", sample.target)
    made = [step.call for step in sample.steps if not step.failed]
    return float(same_calls(made, sample.wanted_calls))


def same_calls(made: Sequence[ToolCall], wanted: Sequence[ToolCall]) -> bool:
    """Whether each wanted call was made, and no other; calls made twice count once."""
    left: list[ToolCall] = []
    for call in made:
        if not any(same_call(call, other) for other in left):
            left.append(call)
    for call in wanted:
        match = next((other for other in left if same_call(other, call)), None)
        if match is None:
            return False
        left.remove(match)
    return not left


def same_call(one: ToolCall, other: ToolCall) -> bool:
    """The same function with the same arguments."""
    return one.name == other.name and same_value(dict(one.arguments), dict(other.arguments))


def possible_call(made: ToolCall, name: str, possible: Mapping[str, Sequence[Any]]) -> bool:
    """BFCL's own form of what is right: for each argument a list of values, "" among them where it
    may be left out."""
    if made.name != name or not set(made.arguments) <= set(possible):
        return False
    for argument, values in possible.items():
        if argument not in made.arguments:
            if "" not in values:
                return False
        elif not any(same_value(made.arguments[argument], value) for value in values):
            return False
    return True


def same_value(one: Any, other: Any) -> bool:
    """Equal values; texts without case, spaces and punctuation; 1 is 1.0 and not True."""
    if isinstance(one, str) and isinstance(other, str):
        return _LOOSE.sub("", one).casefold() == _LOOSE.sub("", other).casefold()
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(same_value(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(same_value(a, b) for a, b in pairs)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def written_calls_match(prediction: str, target: str) -> float:
    """The same for calls that are written as an answer: JSON objects with a name and arguments.
    Other texts match where they are equal."""
    said, wanted = _written(prediction), _written(target)
    if said is None or wanted is None:
        return float(prediction.strip() == target.strip())
    return float(same_calls(said, wanted))


def _written(text: str) -> list[ToolCall] | None:
    try:
        value = read_json(text)
        listed = value if isinstance(value, list) else [value]
        return [ToolCall(str(c["name"]), dict(c["arguments"])) for c in listed]
    except (ValueError, KeyError, TypeError):
        return None


CALL_MATCH = Scorer("call-match", written_calls_match, score_sample=call_match)
