"""Frozen records to plain values (for JSON and YAML) and back, driven by their type hints alone.

A float that is not finite becomes null on the way out, because JSON cannot say it and an unmeasured
or infinite figure is None in every record.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
# What `loads` raises for a text that is none of ours, or damaged.
DAMAGE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


def to_plain(value: Any, *, replace: Callable[[Any], Any] | None = None) -> Any:
    """A record as dicts, lists and scalars.

    `replace` sees every value first and returns it, or what shall stand for it: a digest for a
    tensor, for instance.
    """
    if replace is not None:
        value = replace(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        plain = {name: to_plain(getattr(value, name), replace=replace) for name in names}
        if getattr(value, "SPARSE", False):  # a record that says so is stored without its Nones
            return {name: v for name, v in plain.items() if v is not None}
        return plain
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(k): to_plain(v, replace=replace) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v, replace=replace) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((to_plain(v, replace=replace) for v in value), key=str)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    item = getattr(value, "item", None)  # numpy and torch scalars
    if callable(item):
        return to_plain(item(), replace=replace)
    return str(value)


def dumps(value: Any) -> str:
    """A record as one line of strict JSON, keys in the order of its fields.

    ASCII only: half a surrogate pair, which a data file may contain, cannot be written in UTF-8.
    """
    return json.dumps(to_plain(value), allow_nan=False, separators=(",", ":"))


def canonical(value: Any) -> str:
    """JSON for hashing: keys are sorted and only ASCII is used, so that equal records give equal
    bytes."""
    return json.dumps(to_plain(value), sort_keys=True, allow_nan=False, separators=(",", ":"))


def digest(value: Any) -> str:
    """SHA-256 (hex) of `canonical(value)`: equal in every process for equal values."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def loads(kind: type[T], text: str) -> T:
    """Read back what `dumps` wrote as a record of class `kind`. Missing fields take their
    defaults; unknown fields (written by a newer version) are ignored. ValueError or TypeError where
    the text does not fit the class."""
    return from_plain(kind, json.loads(text))


def from_plain(kind: type[T], value: Any) -> T:
    """Read a record back from its plain form."""
    built: T = _build(kind, value)
    return built


def _build(kind: Any, value: Any) -> Any:
    origin = get_origin(kind)
    if kind is Any or origin is Literal:
        return value
    if origin in (Union, types.UnionType):
        return _build_union(get_args(kind), value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_record(kind, value)
    if kind is float:
        return math.nan if value is None else float(value)
    if isinstance(kind, type) and issubclass(kind, (Enum, Path)):
        return kind(value)
    if origin is tuple:
        return _build_tuple(get_args(kind), value)
    if origin is not None and isinstance(origin, type):
        if issubclass(origin, Mapping):
            inner = get_args(kind)[1]
            return {k: _build(inner, v) for k, v in value.items()}
        if issubclass(origin, Sequence):
            inner = get_args(kind)[0]
            return [_build(inner, v) for v in value]
    return value


def _build_union(choices: tuple[Any, ...], value: Any) -> Any:
    if value is None:
        return None
    rest = [c for c in choices if c is not type(None)]
    return _build(rest[0], value) if len(rest) == 1 else value


def _build_tuple(inner: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, Mapping)):
        raise TypeError(f"a list cannot be read from {value!r:.80}")
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(_build(inner[0], v) for v in value)
    return tuple(_build(k, v) for k, v in zip(inner, value, strict=True))


def _build_record(kind: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{kind.__name__} cannot be read from {type(value).__name__}")
    hints = _hints(kind)
    names = {f.name for f in dataclasses.fields(kind) if f.init}
    return kind(**{k: _build(hints[k], v) for k, v in value.items() if k in names})


@lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
