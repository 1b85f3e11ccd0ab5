"""The YAML task file: read safely, its paths made absolute.

YAML is read with differences from PyYAML's defaults, all because labels are words: `yes`, `no`,
`on` and `off` stay words, and so do dates, 007, 12:30 and 0x1F. A number keeps the way in which it
was written: 1.10 is no other label than "1.10". Repeated keys and aliases are refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from luthier.errors import TaskError
from luthier.redaction import names_secret
from luthier.safety.hosts import check_host
from luthier.safety.plain_files import read_plain
from luthier.safety.user_code import check_code
from luthier.task.judge_spec import judge_source
from luthier.task.key_reader import MINIMAL_FILE
from luthier.task.read_spec import read_task_spec
from luthier.task.reading.python_function import names_function
from luthier.task.spec import TaskSpec

MOST_BYTES = 1_000_000
SUFFIXES = (".yaml", ".yml")
# Prefixes of sources that are not paths.
ELSEWHERE = ("hub:", "bundled:")
# Where the sets that cannot be shipped live on the hub, for when ${LUTHIER_DATA} is unset.
DATA_VARIABLE = "LUTHIER_DATA"
HUB_IDS = {
    "sst2": "hub:stanfordnlp/sst2",
    "banking77": "hub:legacy-datasets/banking77",
    "mts-dialog": "hub:har1/MTS_Dialogue-Clinical_Note",
}


class WrittenInt(int):
    """A whole number that knows how it was written."""

    written: str

    def __str__(self) -> str:
        return self.written


class WrittenFloat(float):
    """A number that knows how it was written."""

    written: str

    def __str__(self) -> str:
        return self.written


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases, dates, yes/no booleans, octal numbers and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not read in task files", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain word", key_node.start_mark
                )
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key_node.value!r} occurs twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("bool", "timestamp", "merge", "int", "float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:luthier,2026:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:luthier,2026:float",
    re.compile(
        r"^(?:[-+]?(?:0|[1-9][0-9_]*)(?:\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)"
        r"|[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _whole_number(loader: _Loader, node: Any) -> WrittenInt:
    number = WrittenInt(node.value.replace("_", ""))
    number.written = node.value
    return number


def _number(loader: _Loader, node: Any) -> WrittenFloat:
    text = node.value.replace("_", "").lower()
    number = WrittenFloat(text.replace(".inf", "inf").replace(".nan", "nan"))
    number.written = node.value
    return number


_Loader.add_constructor("tag:luthier,2026:int", _whole_number)
_Loader.add_constructor("tag:luthier,2026:float", _number)


def read_task_file(path: Path, *, allow_code: bool = False) -> TaskSpec:
    """The checked definition in a YAML file, its paths absolute. TaskError when it is unusable.

    Nothing of it is run here; without `allow_code` a file that names Python of its own is refused.
    """
    keys = parse_yaml(read_text(path), where=path.name)
    spec = read_task_spec(keys, where=path.name, name=path.stem)
    check_code(_code_of(spec), found_in=path.name, allowed=allow_code)
    for key, source in (
        *(("knowledge", s) for s in spec.knowledge),
        ("transcribe", spec.transcribe),
    ):
        check_host(
            source or "",
            found_in=f"{path.name} ({key})",
            next_step="If you trust that server, name it from Python (Task.from_examples), or an "
            "index in a technique: --techniques \"rag(index='…')\"",
        )
    return resolve_paths(spec, path.resolve().parent)


def _code_of(spec: TaskSpec) -> list[str]:
    """The functions of Python files that a task names, as the file names them."""
    judge = judge_source(spec.scorer)
    found = [judge] if judge is not None and ".py:" in judge else []
    for source in (spec.data, *(spec.files or {}).values(), *spec.knowledge, spec.scorer):
        if isinstance(source, str) and names_function(source):
            found.append(source)
    return found


def read_text(path: Path) -> str:
    """The text of a small UTF-8 file."""
    try:
        raw = None if path.stat().st_size > MOST_BYTES else read_plain(path, most=MOST_BYTES)
    except OSError as error:
        raise TaskError(
            f"cannot read {path}: {error.strerror or error}",
            next_step="Check the path and its permissions.",
        ) from error
    if raw is None:
        raise TaskError(
            f"{path} is larger than {MOST_BYTES:,} bytes, which no task file is",
            next_step="Put the rows in a file of their own and name it in `data`.",
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(
            f"{path.name} is not UTF-8: byte {raw[error.start]:#04x} at offset {error.start}",
            next_step="Save the task file as UTF-8.",
        ) from error


def parse_yaml(text: str, *, where: str) -> Mapping[Any, Any]:
    """The mapping in a YAML text."""
    minimal = "A task file has at least:\n" + MINIMAL_FILE.format(data="rows.csv")
    if not text.strip():
        raise TaskError(f"{where} is empty", next_step=minimal)
    try:
        found = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise TaskError(
            f"{where}{place}: not YAML: {reason}",
            next_step="Check the indentation there; put texts that hold `: ` or begin with one of "
            "`{[*&!%@` in quotes.",
        ) from error
    # Odd scalars and explicit tags (`!!timestamp soon`) make PyYAML raise nearly anything:
    # ValueError, AttributeError, KeyError; depth makes it raise RecursionError.
    except Exception as error:
        raise TaskError(
            f"{where}: not YAML that can be read: {type(error).__name__}: {str(error)[:80]}",
            next_step=minimal,
        ) from error
    if not isinstance(found, Mapping):
        raise TaskError(
            f"{where} holds a {type(found).__name__}, not keys with values", next_step=minimal
        )
    return found


def resolve_paths(spec: TaskSpec, folder: Path) -> TaskSpec:
    """The same definition with environment variables put in and paths made absolute."""
    scorer = spec.scorer
    judged = judge_source(scorer)
    if judged is not None:
        scorer = f"judge({source_path(judged, folder)})"
    elif isinstance(scorer, str) and ".py:" in scorer:
        scorer = source_path(scorer, folder)
    schema = spec.schema
    files = spec.files
    return replace(
        spec,
        data=None if spec.data is None else source_path(spec.data, folder),
        files=None if files is None else {k: source_path(v, folder) for k, v in files.items()},
        scorer=scorer,
        schema=source_path(schema, folder) if isinstance(schema, str) else schema,
        knowledge=tuple(k if "://" in k else source_path(k, folder) for k in spec.knowledge),
        tools=tuple(tool_address(address, folder) for address in spec.tools),
        price_book=spec.price_book and source_path(spec.price_book, folder),
        transcribe=_transcriber(spec.transcribe, folder),
    )


def _transcriber(name: str | None, folder: Path) -> str | None:
    """The name of a transcriber; a folder of a model is found from the task file."""
    if name is None:
        return None
    from luthier.speech.transcriber import names_transcriber

    return name if names_transcriber(name) else source_path(name, folder)


def tool_address(address: str, folder: Path) -> str:
    """An address of tools with its path made absolute; others stay as they are."""
    kind, colon, rest = address.partition(":")
    prefix = next((p for p in ("sqlite:///", "duckdb:///") if rest.startswith(p)), "")
    if (
        not colon
        or kind not in ("sql", "knowledge", "lookup", "openapi")
        or "://" in rest[len(prefix) :]
    ):
        return address
    return f"{kind}:{prefix}{source_path(rest[len(prefix) :].strip(), folder)}"


def source_path(source: str, folder: Path) -> str:
    """A source with `${NAME}` replaced from the environment; a path is made absolute."""
    if source.startswith(ELSEWHERE):
        return source

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if names_secret(name):
            raise TaskError(
                f"`{source}` puts {name} into a path, and it may be a key",
                next_step="Give a variable for paths another name.",
            )
        found = os.environ.get(name)
        if not found:
            raise TaskError(
                f"`{source}`: the environment variable {name} is not set",
                next_step=_unset(name, source),
            )
        return found

    expanded = re.sub(r"\$\{(\w+)\}", value, source)
    if "\0" in expanded:
        raise TaskError("a path holds a null character", next_step="Write the path again.")
    try:
        path = Path(expanded).expanduser()
    except RuntimeError as error:
        raise TaskError(f"{source}: {error}", next_step="Write the path in full.") from error
    return str(path if path.is_absolute() else folder / path)


def _unset(name: str, source: str) -> str:
    if name != DATA_VARIABLE:
        return f"Set it (export {name}=...), or write the path in full."
    which = re.search(r"\$\{\w+\}/([\w.-]+)", source)
    hub = HUB_IDS.get(which[1]) if which else None
    step = f"Set it to the folder that holds the data (export {name}=/path/to/data)"
    if hub:
        return f"{step}, or read the same set from the hub: {hub}."
    return f"{step}, or write the path in full."
