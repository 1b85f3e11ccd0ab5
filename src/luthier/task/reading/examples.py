"""From raw rows to examples; errors and notes name the place of what is missing or wrong."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.content import ToolCall
from luthier.errors import TaskError, did_you_mean
from luthier.records import Example, Kind
from luthier.scripts import composed
from luthier.task.key_reader import short
from luthier.task.label_spellings import declared_spelling, quoted, spelling_key
from luthier.task.reading.cells import cell_text
from luthier.task.reading.dialogues import question_and_answer, without_answer
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
    cut = ends = 0
    for place, row in table.rows:
        where = f"{table.source}, {table.place} {place}"
        cells = {
            c: cell_text(row.get(c), where=f"{where}, {c!r}", plain=c == spec.target)
            for c in spec.columns
        }
        target, text = cells[spec.target], cells[spec.input]
        if spec.input == spec.target and target is not None:
            text, target = _parted(row[spec.input], where, spec.input)
        if spec.kind is Kind.CLASSIFY and target is not None:
            target = composed(target)
            target = renamed.get(target, target) or None
            if target is not None and labels:
                target = declared_spelling(target, labels)
        elif target is not None:
            target = renamed.get(target, target) or None
            shorter = without_answer(row[spec.input], target) if target else None
            cut += shorter is not None
            text = shorter or text
            ends += bool(target and text and len(target) > 11 and text.endswith(target))
        if target in NOT_A_NUMBER and target not in labels:
            target = None
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
        group = group and composed(group)
        passage = cells[spec.passage] if spec.passage else None
        evidence = cells[spec.evidence] if spec.evidence else None
        rejected = cells[spec.rejected] if spec.rejected else None
        if rejected == target:
            rejected = None  # neither is better
        identity = cells[spec.id] if spec.id else None
        if spec.id:
            if identity is None:
                empty.setdefault(spec.id, []).append(place)
                continue
            places.setdefault(identity, []).append(place)
        key = identity or content_id(text, target, passage)
        calls = read_calls(row.get(spec.calls), where=where) if spec.calls else None
        picture = cells[spec.picture] if spec.picture else None
        examples.append(
            Example(key, text, target, group, passage, evidence, rejected, calls, picture)
        )
    notes = list(table.notes) + _check_empty(table, empty, spec)
    notes += _answer_notes(table, spec, cut, ends)
    _check_labels(table, unknown, spec)
    _check_ids(table, places, spec)
    return examples, notes


def _parted(cell: object, where: str, column: str) -> tuple[str, str]:
    """The question and the answer in a dialogue that is input and target at once."""
    found = question_and_answer(cell)
    if found is None:
        raise TaskError(
            f"{where}: `input` and `target` both name {column!r}, and it holds no dialogue that "
            "ends with an answer",
            next_step="Name two columns, or one with messages of which the last is the "
            "assistant's.",
        )
    return found


def _answer_notes(table: Table, spec: TaskSpec, cut: int, ends: int) -> list[str]:
    notes = []
    if cut:
        notes.append(
            f"In {cut:,} rows of {table.source} the dialogue in {spec.input!r} ended with the "
            "answer: the input stops before it."
        )
    if ends * 2 > len(table.rows):
        notes.append(
            f"In {ends:,} of {len(table.rows):,} rows of {table.source} the input ends with the "
            "answer, word for word: whatever copies it scores high."
        )
    return notes


def read_calls(cell: Any, *, where: str) -> tuple[ToolCall, ...] | None:
    """The calls of a cell: [{"name": …, "arguments": {…}}], as JSON or as it stands in JSON data.

    None for an empty cell: nobody wrote them down.
    """
    if cell is None or cell == "":
        return None
    try:
        listed = json.loads(cell) if isinstance(cell, str) else cell
        return tuple(ToolCall(str(c["name"]), dict(c["arguments"])) for c in listed)
    except (ValueError, KeyError, TypeError) as error:
        raise TaskError(
            f"{where}: the calls are {short(cell)}",
            next_step='Write [{"name": "calculator", "arguments": {"expression": "2"}}], or [].',
        ) from error


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
    alike = [label for label in spec.labels if spelling_key(label) == spelling_key(value)]
    close = did_you_mean(value, spec.labels)
    if alike:
        close = f"`rename: {{{quoted(value)}: {quoted(alike[0])}}}` would join the two."
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
