"""Parts of a saved folder: tensors, JSON and records, each refused by its name where damaged."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from luthier.errors import ModelError
from luthier.safety.plain_files import open_plain, read_plain

MOST_JSON_BYTES = 20_000_000
COPY = "A part was cut short, damaged or changed: copy or fit it again."


def damaged(path: Path, why: object) -> ModelError:
    """The error for a part that cannot be used."""
    return ModelError(f"{path} is damaged: {' '.join(str(why).split())[:300]}", next_step=COPY)


def read_tensors(path: Path, *needed: str) -> dict[str, Any]:
    """The tensors of a safetensors file, on the CPU. ModelError, with the file, where it is
    missing, cut short, no such file, or lacks one of the `needed` tensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        open_plain(path).close()
        tensors: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        raise damaged(path, getattr(error, "strerror", None) or error) from error
    for name in needed:
        if name not in tensors:
            raise damaged(path, f"it holds no tensor {name!r}")
    return tensors


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; ModelError where there is none."""
    try:
        value = json.loads(read_plain(path, most=MOST_JSON_BYTES))
    except OSError as error:
        raise damaged(path, error.strerror or error) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise damaged(path, f"it holds a {type(value).__name__}, not an object")
    return value


def check_types(value: Any, kind: Any, where: str) -> None:
    """TypeError, with the place, where a value is not of its declared type, fields of records
    included. Whatever else a type says is not checked."""
    if kind is Any:  # a class, to Python 3.11
        return
    origin = get_origin(kind)
    if kind is Any:
        return
    if origin in (Union, types.UnionType):
        kinds = get_args(kind)
        if value is None and type(None) in kinds:
            return
        rest = [k for k in kinds if k is not type(None)]
        if len(rest) == 1:
            check_types(value, rest[0], where)
        elif not any(_is(value, get_origin(k) or k) for k in rest):
            raise TypeError(f"{where} is {value!r:.80}")
    elif origin is Literal:
        if value not in get_args(kind):
            raise TypeError(
                f"{where} is {value!r:.80}, not one of {', '.join(map(str, get_args(kind)))}"
            )
    elif dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, kind):
            raise TypeError(f"{where} is {value!r:.80}, not a {kind.__name__}")
        hints = _hints(kind)
        for field in dataclasses.fields(kind):
            check_types(getattr(value, field.name), hints[field.name], f"{where}.{field.name}")
    elif origin is tuple:
        inner = get_args(kind)
        if not isinstance(value, tuple):
            raise TypeError(f"{where} is {value!r:.80}, not a list")
        each = inner[:1] * len(value) if len(inner) == 2 and inner[1] is Ellipsis else inner
        for place, (part, part_kind) in enumerate(zip(value, each, strict=True)):
            check_types(part, part_kind, f"{where}[{place}]")
    elif origin is not None:
        if isinstance(origin, type) and not isinstance(value, origin):
            raise TypeError(f"{where} is {value!r:.80}, not a {origin.__name__}")
        if isinstance(value, Mapping) and len(get_args(kind)) == 2:
            for key, part in value.items():
                check_types(part, get_args(kind)[1], f"{where}[{key!r:.40}]")
        elif isinstance(value, Sequence) and not isinstance(value, str) and get_args(kind):
            for place, part in enumerate(value):
                check_types(part, get_args(kind)[0], f"{where}[{place}]")
    elif isinstance(kind, type) and not _is(value, kind):
        raise TypeError(f"{where} is {value!r:.80}, not {_article(kind)}")


@lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _is(value: Any, kind: Any) -> bool:
    if kind is Any:  # which is a class, and refuses isinstance
        return True
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(kind, type) or isinstance(value, kind) or issubclass(kind, Enum)


def _article(kind: type) -> str:
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(kind, f"a {kind.__name__}")
