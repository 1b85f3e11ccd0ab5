"""What a task file says, checked key by key before any data is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier import registry
from luthier.errors import TaskError, did_you_mean
from luthier.records import Kind
from luthier.task.key_reader import KeyReader, short

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
SPLITS = ("train", "dev", "test")
DEFAULT_SCORERS = {
    Kind.CLASSIFY: "accuracy",
    Kind.QUESTION_ANSWERING: "exact-match",
    Kind.EXTRACT: "token-f1",
    Kind.GENERATE: "rouge-l",
    Kind.CHAT: "chrf",
}
DEFAULT_FRACTIONS = {"train": 0.6, "dev": 0.2, "test": 0.2}
DEFAULT_LIMIT = 200_000


@dataclass(frozen=True)
class TaskSpec:
    """A task without its data. `fractions` is used where `data` is one source, `files` where the
    splits come from separate ones; one of the two is None. `limit` counts rows a source."""

    name: str
    instruction: str
    input: str
    target: str
    kind: Kind
    scorer: str | Callable[..., Any]
    data: str | None = None
    files: Mapping[str, str] | None = None
    fractions: Mapping[str, float] | None = None
    labels: tuple[str, ...] = ()
    label_descriptions: tuple[tuple[str, str], ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    context: str = ""
    objective: str = ""
    passage: str | None = None
    evidence: str | None = None
    group: str | None = None
    id: str | None = None
    drop_leaks: bool = True
    schema: Mapping[str, Any] | str | None = None
    unconstrained: bool = False
    max_new_tokens: int | None = None
    limit: int | None = None
    encoding: str = "utf-8-sig"
    skip_empty: bool = False
    input_name: str = "Input"
    target_name: str = "Answer"
    knowledge: tuple[str, ...] = ()
    price_book: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column this task reads."""
        named = (self.input, self.target, self.passage, self.evidence, self.group, self.id)
        return tuple(dict.fromkeys(c for c in named if c is not None))


def read_task_spec(keys: Mapping[Any, Any], *, where: str, name: str = "") -> TaskSpec:
    """A checked definition. `where` names its source in messages; `name` is the name by default."""
    for key in keys:
        if key not in KEYS:
            raise TaskError(
                f"{where}: unknown key {short(key)}",
                choices=KEYS,
                next_step=did_you_mean(str(key), KEYS) or "Remove it or use one of the choices.",
            )
    read = KeyReader(keys, where)
    kind = _kind(read)
    labels, descriptions = _labels(read)
    if labels and kind is not Kind.CLASSIFY:
        read.refuse(
            "labels",
            f"belong to kind classify, not to {str(kind)!r}",
            next_step="Write `kind: classify`, or leave the labels out.",
        )
    data, files, fractions = _sources(read)
    input_column, target_column = read.needed_text("input"), read.needed_text("target")
    schema = _schema(read)
    return TaskSpec(
        name=read.text("name") or name or "task",
        instruction=read.needed_text("instruction"),
        input=input_column,
        target=target_column,
        kind=kind,
        scorer=_scorer(read, kind, has_schema=schema is not None),
        data=data,
        files=files,
        fractions=fractions,
        labels=labels,
        label_descriptions=descriptions,
        rename=_pairs(read, "rename"),
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
        knowledge=_texts(read, "knowledge"),
        price_book=read.text("price_book") or None,
    )


def title(column: str) -> str:
    """How a column is called in a prompt: `customer_message` becomes "Customer message"."""
    words = " ".join(re.sub(r"[\W_]+", " ", column).split())
    return words[:1].upper() + words[1:] if words else column


def _kind(read: KeyReader) -> Kind:
    return Kind(read.choice("kind", KINDS, str(Kind.CLASSIFY)))


def _labels(read: KeyReader) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    value = read.get("labels")
    if isinstance(value, Mapping):
        pairs = _pairs(read, "labels")
        names = tuple(name for name, _ in pairs)
        described = tuple((name, text) for name, text in pairs if text)
    else:
        names, described = _texts(read, "labels"), ()
    if len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        read.refuse("labels", f"names {', '.join(twice)} twice", next_step="Remove one of them.")
    if value is not None and len(names) < 2:
        read.refuse(
            "labels",
            f"lists {len(names)} label{'s' * (len(names) != 1)}; a choice needs at least 2",
            next_step="List all labels, or leave the key out to read them from the data.",
        )
    return names, described


def _pairs(read: KeyReader, key: str) -> tuple[tuple[str, str], ...]:
    """A mapping of text to text; a missing value is the empty text."""
    value = read.get(key)
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        read.refuse(
            key,
            f"must be a mapping, not {short(value)}",
            next_step=f"Write it as\n{key}:\n  first: its text\n  second: its text",
        )
    pairs = []
    for name, text in value.items():
        plain = KeyReader({key: name}, read.where).text(key)
        if not plain:
            read.refuse(key, "has an empty name", next_step="Give it a name or remove it.")
        pairs.append((plain, KeyReader({key: text}, read.where).text(key)))
    return tuple(pairs)


def _texts(read: KeyReader, key: str) -> tuple[str, ...]:
    value = read.get(key)
    if value is None:
        return ()
    items = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    texts = tuple(KeyReader({key: item}, read.where).text(key) for item in items)
    if not all(texts):
        read.refuse(key, "has an empty entry", next_step="Remove it.")
    return texts


def _scorer(read: KeyReader, kind: Kind, *, has_schema: bool) -> str | Callable[..., Any]:
    value = read.get("scorer")
    if callable(value):
        function: Callable[..., Any] = value
        return function
    if value is None:
        if kind is Kind.EXTRACT and has_schema:
            return "json-schema"
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
        read.refuse(
            "scorer",
            f"is {short(name)}",
            choices=(*names, "regex:PATTERN", "file.py:function"),
            next_step=did_you_mean(name, names) or "Use one of the choices.",
        )
    if name == "json-schema" and not has_schema:
        read.refuse(
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
        read.refuse(
            "encoding",
            f"is {short(name)}, which Python does not know as a text encoding",
            choices=common,
            next_step=did_you_mean(name, common) or "Leave it out for UTF-8.",
        )
    return "utf-8-sig" if codec.name == "utf-8" else name


def _sources(
    read: KeyReader,
) -> tuple[str | None, Mapping[str, str] | None, Mapping[str, float] | None]:
    """(data, files, fractions): one source cut by fractions, or one source for each split."""
    split, data = read.get("split"), read.text("data") or None
    if split is None:
        return data or read.needed_text("data"), None, DEFAULT_FRACTIONS
    example = "Write for instance `split: {train: 0.6, dev: 0.2, test: 0.2}`."
    if not isinstance(split, Mapping):
        read.refuse("split", f"must be a mapping, not {short(split)}", next_step=example)
    for part in split:
        if part not in SPLITS:
            read.refuse(
                "split",
                f"has an unknown part {short(part)}",
                choices=SPLITS,
                next_step=did_you_mean(str(part), SPLITS) or example,
            )
    values = list(split.values())
    if values and all(isinstance(v, str) and v.strip() for v in values):
        missing = [part for part in ("train", "test") if part not in split]
        if missing:
            read.refuse(
                "split",
                f"names no file for {' and '.join(missing)}",
                next_step="Name one for train and one for test; dev, where it has none, is cut "
                "from train.",
            )
        if data:
            read.refuse(
                "split",
                "names files, and `data` names one too",
                next_step="Remove `data`, or give fractions in `split`.",
            )
        return None, {part: split[part].strip() for part in SPLITS if part in split}, None
    if not values or not all(_is_share(v) for v in values):
        read.refuse(
            "split",
            f"must hold fractions or files, not {short(dict(split))}",
            next_step=f"{example} Or name a file for each part.",
        )
    whole = math.fsum(float(v) for v in values)
    if set(split) != set(SPLITS) or not (abs(whole - 1) < 0.011 or abs(whole - 100) < 1.1):
        read.refuse(
            "split",
            f"gives {', '.join(f'{k} {v:g}' for k, v in split.items())}: "
            f"together {whole:g}, and all of {', '.join(SPLITS)} are needed",
            next_step="Make train, dev and test add up to 1.",
        )
    fractions = {part: float(split[part]) / whole for part in SPLITS}
    return data or read.needed_text("data"), None, fractions


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 100
