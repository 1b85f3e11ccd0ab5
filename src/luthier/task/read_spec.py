"""From the keys of a task file to a TaskSpec, checked key by key before any data is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from luthier import registry
from luthier.errors import TaskError, did_you_mean
from luthier.records import Kind
from luthier.task.data_sources import read_sources
from luthier.task.key_reader import KeyReader, short
from luthier.task.spec import TaskSpec, title

KEYS = (
    "name",
    "instruction",
    "data",
    "input",
    "target",
    "kind",
    "scorer",
    "labels",
    "rename",
    "context",
    "objective",
    "passage",
    "evidence",
    "group",
    "id",
    "split",
    "leaks",
    "schema",
    "unconstrained",
    "max_new_tokens",
    "limit",
    "encoding",
    "skip_empty",
    "input_name",
    "target_name",
    "knowledge",
    "price_book",
)
KINDS = tuple(str(kind) for kind in Kind)
DEFAULT_SCORERS = {
    Kind.CLASSIFY: "accuracy",
    Kind.QUESTION_ANSWERING: "exact-match",
    Kind.EXTRACT: "token-f1",
    Kind.GENERATE: "rouge-l",
    Kind.CHAT: "chrf",
}


def read_task_spec(keys: Mapping[Any, Any], *, where: str, name: str = "") -> TaskSpec:
    """The checked definition. `where` names its source in messages; `name` is the default name."""
    for key in keys:
        if key not in KEYS:
            raise TaskError(
                f"{where}: unknown key {short(key)}",
                choices=KEYS,
                next_step=did_you_mean(str(key), KEYS) or "Remove it or use one of the choices.",
            )
    read = KeyReader(keys, where)
    kind = Kind(read.choice("kind", KINDS, str(Kind.CLASSIFY)))
    labels, descriptions = _labels(read)
    if labels and kind is not Kind.CLASSIFY:
        read.fail(
            "labels",
            f"belong to kind classify, not to {str(kind)!r}",
            next_step="Write `kind: classify`, or leave the labels out.",
        )
    data, files, fractions = read_sources(read)
    input_column, target_column = read.required_text("input"), read.required_text("target")
    schema = _schema(read)
    return TaskSpec(
        name=read.text("name") or name or "task",
        instruction=read.required_text("instruction"),
        input=input_column,
        target=target_column,
        kind=kind,
        scorer=_scorer(read, kind, has_schema=schema is not None),
        data=data,
        files=files,
        fractions=fractions,
        labels=labels,
        label_descriptions=descriptions,
        rename=read.pairs("rename"),
        context=read.text("context"),
        objective=read.text("objective"),
        passage=read.text("passage") or None,
        evidence=read.text("evidence") or None,
        group=read.text("group") or None,
        id=read.text("id") or None,
        drop_leaks=read.choice("leaks", ("drop", "keep"), "drop") == "drop",
        schema=schema,
        unconstrained=read.flag("unconstrained"),
        max_new_tokens=read.count("max_new_tokens"),
        limit=read.count("limit"),
        encoding=_encoding(read),
        skip_empty=read.flag("skip_empty"),
        input_name=read.text("input_name") or title(input_column),
        target_name=read.text("target_name") or title(target_column),
        knowledge=read.texts("knowledge"),
        price_book=read.text("price_book") or None,
    )


def _labels(read: KeyReader) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    value = read.get("labels")
    if isinstance(value, Mapping):
        pairs = read.pairs("labels")
        names = tuple(name for name, _ in pairs)
        described = tuple((name, text) for name, text in pairs if text)
    else:
        names, described = read.texts("labels"), ()
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        read.fail("labels", f"names {', '.join(twice)} twice", next_step="Remove one of them.")
    if value is not None and len(names) < 2:
        read.fail(
            "labels",
            f"lists {len(names)} label{'s' * (len(names) != 1)}; a choice needs at least 2",
            next_step="List all labels, or leave the key out to read them from the data.",
        )
    return names, described


def _scorer(read: KeyReader, kind: Kind, *, has_schema: bool) -> str | Callable[..., Any]:
    value = read.get("scorer")
    if callable(value):
        function: Callable[..., Any] = value
        return function
    if value is None:
        if kind is Kind.EXTRACT and has_schema:
            return "json-fields"
        return DEFAULT_SCORERS[kind]
    name = read.text("scorer")
    file, colon, function_name = name.rpartition(":")
    if colon and file.endswith(".py") and function_name.isidentifier():
        return name
    if name.lower().startswith("regex:"):
        return name
    name = name.lower().replace("_", "-")
    if not registry.has("scorers", name):
        names = registry.names("scorers")
        read.fail(
            "scorer",
            f"is {short(name)}",
            choices=(*names, "regex:PATTERN", "file.py:function"),
            next_step=did_you_mean(name, names) or "Use one of the choices.",
        )
    if name == "json-schema" and not has_schema:
        read.fail(
            "scorer",
            "is 'json-schema', and there is no schema",
            next_step="Add `schema:` with a JSON schema, or the path of a .json file with one.",
        )
    return name


def _schema(read: KeyReader) -> Mapping[str, Any] | str | None:
    value = read.get("schema")
    if value is None or isinstance(value, Mapping):
        return value
    return read.text("schema") or None


def _encoding(read: KeyReader) -> str:
    import codecs

    name = read.text("encoding") or "utf-8-sig"
    common = ("utf-8", "utf-16", "cp1252", "latin-1", "shift_jis", "gb18030")
    try:
        codec = codecs.lookup(name)
        # Codecs from bytes to bytes ("base64") have a name as well, and are no text encoding.
        if not getattr(codec, "_is_text_encoding", True):
            raise LookupError(name)
    except (LookupError, ValueError):
        read.fail(
            "encoding",
            f"is {short(name)}, which Python does not know as a text encoding",
            choices=common,
            next_step=did_you_mean(name, common) or "Leave it out for UTF-8.",
        )
    return "utf-8-sig" if codec.name == "utf-8" else name
