"""From raw rows to examples; errors and notes name the place of what is missing or wrong."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence

from luthier.errors import TaskError, did_you_mean
from luthier.records import Example, Kind
from luthier.task.key_reader import short
from luthier.task.reading.cells import cell_text
from luthier.task.reading.loaders import Table
from luthier.task.spec import TaskSpec

FEWEST_EXAMPLES = 20
NOT_A_NUMBER = ("nan", "NaN", "NAN")


def read_examples(table: Table, spec: TaskSpec) -> tuple[list[Example], list[str]]:
    """The examples of a table, and notes on the rows left out.

    TaskError for a row that cannot be an example.
    """
    renamed = dict(spec.rename)
    labels = frozenset(spec.labels)
    examples: list[Example] = []
    empty: dict[str, list[int]] = {}
    unknown: list[tuple[int, str]] = []
    places: dict[str, list[int]] = {}
    for place, row in table.rows:
        where = f"{table.source}, {table.place} {place}"
        cells = {c: cell_text(row.get(c), where=f"{where}, {c!r}") for c in spec.columns}
        target = cells[spec.target]
        if target is not None:
            target = renamed.get(target, target)
        if target in NOT_A_NUMBER and target not in labels:
            target = None
        text = cells[spec.input]
        if text in NOT_A_NUMBER:
            text = None
        if target is None or text is None:
            column = spec.target if target is None else spec.input
            empty.setdefault(column, []).append(place)
            continue
        if labels and target not in labels:
            unknown.append((place, target))
            continue
        group = cells[spec.group] if spec.group else None
        passage = cells[spec.passage] if spec.passage else None
        evidence = cells[spec.evidence] if spec.evidence else None
        identity = cells[spec.id] if spec.id else None
        if spec.id:
            if identity is None:
                empty.setdefault(spec.id, []).append(place)
                continue
            places.setdefault(identity, []).append(place)
        key = identity or content_id(text, target, passage)
        examples.append(Example(key, text, target, group, passage, evidence))
    notes = list(table.notes) + _check_empty(table, empty, spec)
    _check_labels(table, unknown, spec)
    _check_ids(table, places, spec)
    return examples, notes


def content_id(text: str, target: str, passage: str | None) -> str:
    """An id that depends on the content of the example, and not on the order of the rows."""
    content = json.dumps([text, target, passage], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def check_enough(examples: Sequence[Example], where: str) -> None:
    """TaskError below 20 examples: a measurement on fewer would mean nothing."""
    if len(examples) < FEWEST_EXAMPLES:
        raise TaskError(
            f"{where}: {len(examples)} usable example{'s' * (len(examples) != 1)}, "
            f"and at least {FEWEST_EXAMPLES} are needed",
            next_step="Add rows. With 4 test examples one answer moves the score by 25 points; "
            "100 rows or more give results that mean something.",
        )


def find_labels(examples: Sequence[Example], spec: TaskSpec, where: str) -> tuple[str, ...]:
    """The labels of the definition, or else those in the data, sorted; () unless kind is classify.

    TaskError where the targets cannot be labels.
    """
    if spec.kind is not Kind.CLASSIFY:
        return ()
    counts = Counter(e.target for e in examples)
    if len(counts) == 1:
        only = next(iter(counts))
        raise TaskError(
            f"{where}: all {len(examples):,} examples have the same label, {short(only)}",
            next_step="Name the column that tells them apart in `target`; if the file is sorted by "
            "label and was cut, shuffle it or raise `limit`.",
        )
    if spec.labels:
        return spec.labels
    if len(counts) > len(examples) / 2:
        raise TaskError(
            f"{where}: column {spec.target!r} holds {len(counts):,} different texts in "
            f"{len(examples):,} examples, too many for labels; one is {short(min(counts))}",
            choices=("kind: generate", "kind: question-answering", "kind: extract", "kind: chat"),
            next_step="Write one of these, or name the label column in `target`.",
        )
    return tuple(sorted(counts))


def _check_empty(table: Table, empty: Mapping[str, list[int]], spec: TaskSpec) -> list[str]:
    notes = []
    for column, found in empty.items():
        problem = (
            f"{len(found):,} row{'s' * (len(found) != 1)} of {table.source} with an empty or NaN "
            f"{column!r} ({table.place} {_first(found)})"
        )
        if not spec.skip_empty:
            raise TaskError(
                f"{problem} of {len(table.rows):,} rows",
                choices=("fill them in", "remove them", "`skip_empty: true`"),
                next_step="`skip_empty: true` in the task file leaves such rows out and says so in "
                "the report.",
            )
        notes.append(f"Left out: {problem}.")
    return notes


def _check_labels(table: Table, unknown: Sequence[tuple[int, str]], spec: TaskSpec) -> None:
    if not unknown:
        return
    place, value = unknown[0]
    more = f" ({len(unknown):,} rows have a label that is not listed)" * (len(unknown) > 1)
    close = did_you_mean(value, spec.labels)
    raise TaskError(
        f"{table.source}, {table.place} {place}: unknown label {short(value)}{more}",
        choices=spec.labels,
        next_step=(f"{close} " if close else "")
        + "Mend the rows, add the label to `labels`, or map it to one with `rename`.",
    )


def _check_ids(table: Table, places: Mapping[str, list[int]], spec: TaskSpec) -> None:
    twice = {identity: found for identity, found in places.items() if len(found) > 1}
    if not twice:
        return
    identity, found = next(iter(twice.items()))
    raise TaskError(
        f"{table.source}: {len(twice):,} id{'s' * (len(twice) != 1)} in column {spec.id!r} "
        f"occur{'s' * (len(twice) == 1)} more than once; the first is {short(identity)} "
        f"({table.place} {_first(found)})",
        choices=("make them unique", "leave `id` out", f"`group: {spec.id}`"),
        next_step="Without `id` examples are known by their content; with `group` rows that share "
        "the value stay on one side of a split.",
    )


def _first(places: Sequence[int], count: int = 5) -> str:
    more = ", ..." if len(places) > count else ""
    return ", ".join(str(p) for p in places[:count]) + more
