"""A task from rows in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from luthier.errors import TaskError
from luthier.records import Example, Kind
from luthier.task.build import build
from luthier.task.read_spec import read_task_spec
from luthier.task.reading.loaders import take
from luthier.task.task import Task
from luthier.tools.named_addresses import name_addresses


def from_memory(
    rows: Iterable[Any] | Mapping[str, Iterable[Any]] | None,
    *,
    inputs: Sequence[str] | None,
    targets: Sequence[str] | None,
    seed: int,
    keys: Mapping[str, Any],
) -> Task:
    """A task from rows in memory; see `Task.from_examples`."""
    if (rows is None) == (inputs is None) or (inputs is None) != (targets is None):
        raise TaskError(
            "from_examples takes either rows, or inputs and targets",
            choices=("from_examples(rows, ...)", "from_examples(inputs=..., targets=...)"),
            next_step="Give one of the two.",
        )
    if inputs is not None and targets is not None:
        if len(inputs) != len(targets):
            raise TaskError(
                f"{len(inputs)} inputs and {len(targets)} targets",
                next_step="Give one target for each input.",
            )
        rows = list(zip(inputs, targets, strict=True))
    parts = dict(rows) if isinstance(rows, Mapping) else {"all": rows or ()}
    plain = {part: [_row(row) for row in some] for part, some in parts.items()}
    seen = {key for some in plain.values() for row in some for key in row}
    settings: dict[str, Any] = {"input": "input", "target": "target", **keys}
    for column in ("passage", "evidence", "rejected", "group", "id", "picture"):
        if column in seen:
            settings.setdefault(column, column)
    if settings["target"] == "target":
        classify = settings.get("kind", Kind.CLASSIFY) == Kind.CLASSIFY
        settings.setdefault("target_name", "Label" if classify else "Answer")
    if set(parts) == {"all"}:
        settings["data"] = "memory"
    else:
        settings["split"] = dict.fromkeys(parts, "memory")
    spec = read_task_spec(settings, where="Task.from_examples")
    name_addresses(spec.tools)
    tables = {
        part: take(enumerate(some, 1), part if part != "all" else "rows", spec.columns)
        for part, some in plain.items()
    }
    return build(spec, tables, seed=seed)


def _row(row: Any) -> Mapping[str, Any]:
    if isinstance(row, Mapping):
        return row
    if isinstance(row, Example):
        filled = {
            "id": row.id,
            "input": row.input,
            "target": row.target,
            "group": row.group,
            "passage": row.context,
            "evidence": row.evidence,
            "rejected": row.rejected,
            "picture": row.picture,
        }
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(row, Sequence) and not isinstance(row, str) and len(row) == 2:
        return {"input": row[0], "target": row[1]}
    raise TaskError(
        f"a row is a {type(row).__name__}",
        choices=("a dict", "an (input, target) pair", "an Example"),
        next_step="Give rows of one of these.",
    )
