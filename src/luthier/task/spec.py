"""The definition of a task: what a task file says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.records import Kind
from luthier.tools.limits import ToolLimits

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class TaskSpec:
    """The definition of a task without its data, one field for each key of a task file.

    `input`, `target`, `passage`, `evidence`, `group` and `id` name columns of the data.

    `scorer` is a name that scoring knows, "path/module.py:function", or a callable.

    `data` is one source that is cut by `fractions`; `files` holds one source for each split. One of
    the two is None.

    `labels` may be empty until the data is read, and `schema` the path of a file; in a `Task` both
    are filled in. `rename` holds (label in the data, label in the task).

    `context` is background that belongs to the task; `passage` names the column of the passage that
    belongs to one example. `knowledge` names documents in which answers are looked up; `evidence`
    names the column of the passage there that answers. It is never shown to a model: it tells
    whether a search found it.

    `rejected` names the column of an answer that was found worse than the target: preference data.

    `transcribe` names what turns an input column of sound files into text, and `transcript` the
    column of what was really said, where that is known: word errors are counted against it.

    `tools` are the addresses of what a model may call ("sql:shop.db"); `calls` names the column
    with the calls that lead to the answer, as JSON: [{"name": …, "arguments": {…}}]. `tool_limits`
    bound one answer with tools; None: the usual ones.

    `negative` says what answers must not be like: a negative prompt. In a task of pictures
    `instruction` are terms that go behind every request, `picture` names the column of a file that
    shows what a row asks for, and `steps` is how many steps a picture is drawn in.

    `unconstrained`: answers are generated without following the schema. `limit` counts rows for
    each source. `max_new_tokens` is the longest answer, in tokens.
    """

    name: str
    instruction: str
    kind: Kind
    scorer: str | Callable[..., Any]
    input: str = "input"
    target: str = "target"
    data: str | None = None
    files: Mapping[str, str] | None = field(default=None, hash=False)
    fractions: Mapping[str, float] | None = field(default=None, hash=False)
    labels: tuple[str, ...] = ()
    label_descriptions: tuple[tuple[str, str], ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    context: str = ""
    objective: str = ""
    passage: str | None = None
    evidence: str | None = None
    rejected: str | None = None
    group: str | None = None
    id: str | None = None
    drop_leaks: bool = True
    schema: Mapping[str, Any] | str | None = field(default=None, hash=False)
    unconstrained: bool = False
    max_new_tokens: int | None = None
    limit: int | None = None
    encoding: str = "utf-8-sig"
    skip_empty: bool = False
    input_name: str = "Input"
    target_name: str = "Answer"
    knowledge: tuple[str, ...] = ()
    price_book: str | None = None
    transcribe: str | None = None
    transcript: str | None = None
    tools: tuple[str, ...] = ()
    calls: str | None = None
    negative: str = ""
    picture: str | None = None
    steps: int | None = None
    tool_limits: ToolLimits | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that this task reads."""
        named = (
            self.input, self.target, self.passage, self.evidence, self.rejected, self.group,
            self.id, self.transcript, self.calls, self.picture,
        )  # fmt: skip
        return tuple(dict.fromkeys(c for c in named if c is not None))

    @property
    def data_files(self) -> tuple[Path, ...]:
        """The files on this disk that its rows come from, resolved; they are never documents."""
        sources = (self.data, *(self.files or {}).values())
        paths = [Path(re.sub(r"\.py:\w+$", ".py", source)) for source in sources if source]
        return tuple(dict.fromkeys(path.resolve() for path in paths if path.is_file()))


def title(column: str) -> str:
    """The name of a column in a prompt: `customer_message` becomes "Customer message"."""
    words = " ".join(re.sub(r"[\W_]+", " ", column).split())
    return words[:1].upper() + words[1:] if words else column
