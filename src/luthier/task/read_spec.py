"""From the keys of a task file to a TaskSpec, checked key by key before any data is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from luthier import registry
from luthier.errors import TaskError, UserError, did_you_mean
from luthier.records import Kind
from luthier.scripts import composed
from luthier.task.data_sources import read_sources
from luthier.task.judge_spec import judge_source
from luthier.task.key_reader import KeyReader, short
from luthier.task.spec import TaskSpec, title
from luthier.tools.limits import ToolLimits
from luthier.tools.read_limits import HOW, read_limits

T = TypeVar("T")
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
    "rejected",
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
    "transcribe",
    "transcript",
    "tools",
    "calls",
    "negative",
    "picture",
    "steps",
    "tool_limits",
)
KINDS = tuple(str(kind) for kind in Kind)
DEFAULT_SCORERS = {
    Kind.CLASSIFY: "accuracy",
    Kind.QUESTION_ANSWERING: "exact-match",
    Kind.EXTRACT: "token-f1",
    Kind.GENERATE: "rouge-l",
    Kind.CHAT: "chrf",
    Kind.IMAGE: "scene",
}
OF_PICTURES = ("scene", "scene-facts")  # scorers that look at pictures


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
    if read.text("rejected") and kind is Kind.CLASSIFY:
        read.fail(
            "rejected",
            "belongs to answers in free text",
            choices=("kind: generate", "kind: chat"),
            next_step="Write one of these.",
        )
    data, files, fractions = read_sources(read)
    input_column = composed(read.required_text("input"))
    target_column = composed(read.required_text("target"))
    schema = _schema(read)
    return TaskSpec(
        name=read.text("name") or name or "task",
        instruction=_instruction(read, kind),
        input=input_column,
        target=target_column,
        kind=kind,
        scorer=_scorer(read, kind, has_schema=schema is not None),
        data=data,
        files=files,
        fractions=fractions,
        labels=labels,
        label_descriptions=descriptions,
        rename=tuple((composed(a), composed(b)) for a, b in read.pairs("rename")),
        context=read.text("context"),
        objective=read.text("objective"),
        passage=composed(read.text("passage")) or None,
        evidence=composed(read.text("evidence")) or None,
        rejected=composed(read.text("rejected")) or None,
        group=composed(read.text("group")) or None,
        id=composed(read.text("id")) or None,
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
        transcribe=read.text("transcribe") or None,
        transcript=read.text("transcript") or None,
        tools=read.texts("tools"),
        calls=read.text("calls") or None,
        negative=read.text("negative"),
        picture=_of_pictures(read, kind, "picture", composed(read.text("picture")) or None),
        steps=_of_pictures(read, kind, "steps", read.count("steps")),
        tool_limits=_tool_limits(read),
    )


def _instruction(read: KeyReader, kind: Kind) -> str:
    """What is asked; for pictures terms that go behind every request, if any."""
    return read.text("instruction") if kind is Kind.IMAGE else read.required_text("instruction")


def _of_pictures(read: KeyReader, kind: Kind, key: str, value: T) -> T:
    """The value of a key that only a task of pictures has."""
    if value is not None and kind is not Kind.IMAGE:
        read.fail(
            key,
            f"belongs to kind image, not to {str(kind)!r}",
            next_step=f"Write `kind: image`, or leave `{key}` out.",
        )
    return value


def _tool_limits(read: KeyReader) -> ToolLimits | None:
    value = read.get("tool_limits")
    if value is None:
        return None
    if not isinstance(value, Mapping):
        read.fail("tool_limits", f"must be keys and numbers, not {short(value)}", next_step=HOW)
    try:
        return read_limits({str(key): each for key, each in value.items()})
    except UserError as error:
        read.fail("tool_limits", error.problem, choices=error.choices, next_step=error.next_step)


def _labels(read: KeyReader) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    value = read.get("labels")
    if isinstance(value, Mapping):
        pairs = read.pairs("labels")
        names = tuple(composed(name) for name, _ in pairs)
        described = tuple((composed(name), text) for name, text in pairs if text)
    else:
        names, described = tuple(map(composed, read.texts("labels"))), ()
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
    if name.lower().startswith("regex:") or judge_source(name) is not None:
        return name
    name = name.lower().replace("_", "-")
    if not registry.has("scorers", name):
        names = registry.names("scorers")
        read.fail(
            "scorer",
            f"is {short(name)}",
            choices=(*names, "regex:PATTERN", "file.py:function", "judge(rubric.md)"),
            next_step=did_you_mean(name, names) or "Use one of the choices.",
        )
    if (name in OF_PICTURES) != (kind is Kind.IMAGE) and name in registry.EXTENSION_POINTS[
        "scorers"
    ].built_in:
        looks = "looks at pictures" if name in OF_PICTURES else "reads text"
        own = OF_PICTURES if kind is Kind.IMAGE else (DEFAULT_SCORERS[kind],)
        read.fail(
            "scorer",
            f"is {short(name)}, which {looks}, and the kind is {str(kind)!r}",
            choices=(*own, "file.py:function"),
            next_step="Use one of the choices.",
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
    if isinstance(value, Mapping):
        schema: Mapping[str, Any] = _plain(value)
        return schema
    return read.text("schema") or None


def _plain(value: Any) -> Any:
    """The value with numbers of Python's own types in it: a task file's know how they were
    written."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return int(value) if isinstance(value, int) else float(value)


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
