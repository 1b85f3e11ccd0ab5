"""From a definition and its rows to a Task: the one path that every task takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from luthier.errors import TaskError
from luthier.records import Example, Kind, Transcripts
from luthier.task.bundled import FOLDER
from luthier.task.data_notes import data_notes
from luthier.task.data_sources import DEFAULT_FRACTIONS
from luthier.task.find_task_file import find_task_file
from luthier.task.label_spellings import joined_numbers
from luthier.task.leaks import LeakReport, check_leaks
from luthier.task.reading.documents import check_documents
from luthier.task.reading.examples import check_enough, find_labels, read_examples
from luthier.task.reading.loaders import Table, read_source
from luthier.task.recordings import in_part, recording_notes, transcribed, with_splits
from luthier.task.row_pictures import with_pictures
from luthier.task.spec import SPLITS, TaskSpec
from luthier.task.splits import in_order, missed_shares, split
from luthier.task.task import Task
from luthier.task.task_file import read_task_file
from luthier.task.task_schema import checked_schema
from luthier.tools.named_addresses import name_addresses

# Where separate files bring no dev split, this share of train becomes one: 0.2 / (0.6 + 0.2).
DEV_SHARE_OF_TRAIN = 0.25


def load(name: str | Path, *, seed: int = 0, allow_code: bool = False) -> Task:
    """The task of a bundled name or a task file. Without `allow_code` it may name no Python, and no
    tools that start a program or reach a server."""
    path = find_task_file(name)
    spec = read_task_file(path, allow_code=allow_code)
    if allow_code:
        name_addresses(spec.tools)
    task = build(spec, read_tables(spec), seed=seed)
    is_bundled = path.parent == FOLDER
    return task if is_bundled else replace(task, file=str(path.resolve()))


def read_tables(spec: TaskSpec) -> dict[str, Table]:
    """The rows of each source; one source for all splits is under "all"."""
    sources = spec.files or {"all": spec.data or ""}
    return {
        part: read_source(
            source,
            columns=spec.columns,
            encoding=spec.encoding,
            limit=spec.limit,
        )
        for part, source in sources.items()
    }


def build(spec: TaskSpec, tables: Mapping[str, Table], *, seed: int) -> Task:
    """The task of a definition and its rows, by source: "all", or one source for each split.

    `seed` moves examples between splits. TaskError where the rows do not make a task.
    """
    own_data = check_documents(spec.knowledge, spec.data_files)
    notes: list[str] = []
    if own_data:
        names = ", ".join(path.name for path in own_data)
        notes.append(f"The documents hold the data of the task ({names}): it is not indexed.")
    examples_by_source: dict[str, Sequence[Example]] = {}
    heard: list[Transcripts] = []
    for part, table in tables.items():
        found, table_notes = read_examples(table, spec)
        found, transcripts = transcribed(found, table, spec, source=_source(spec, part))
        found = with_pictures(found, source=_source(spec, part)) if spec.picture else found
        heard += [] if transcripts is None else [in_part(transcripts, part)]
        if part in SPLITS:
            # Ids often start again in every file.
            found = [replace(e, id=f"{part}-{e.id}") for e in found]
        examples_by_source[part] = found
        notes += table_notes
    if spec.kind is Kind.CLASSIFY and not spec.labels:
        examples_by_source, number_notes = joined_numbers(examples_by_source)
        notes += number_notes
    examples = [e for found in examples_by_source.values() for e in found]
    where = next(iter(tables.values())).source if len(tables) == 1 else spec.name
    check_enough(examples, where)
    labels = find_labels(examples, spec, where)
    schema = checked_schema(spec.schema, examples)
    as_cut = _splits(examples_by_source, spec, seed)
    if "all" in examples_by_source and spec.group:
        notes += missed_shares(as_cut, spec.fractions or DEFAULT_FRACTIONS)
    splits, leaks = check_leaks(
        as_cut, drop=spec.drop_leaks, labels=bool(labels), near=spec.kind is not Kind.IMAGE
    )
    _check_enough_left(splits, leaks, where)
    notes += data_notes(splits, labels, leaks, declared=spec.labels)
    transcripts = with_splits(heard, splits)
    notes += [] if transcripts is None else recording_notes(transcripts)
    return Task(
        spec=replace(spec, labels=labels, schema=schema),
        train=splits["train"],
        dev=splits["dev"],
        _test=splits["test"],
        leaks=leaks,
        notes=tuple(notes),
        transcripts=transcripts,
    )


def _source(spec: TaskSpec, part: str) -> str:
    return (spec.files or {}).get(part) or spec.data or ""


def _splits(
    examples_by_source: Mapping[str, Sequence[Example]], spec: TaskSpec, seed: int
) -> dict[str, tuple[Example, ...]]:
    stratify = spec.kind is Kind.CLASSIFY
    if "all" in examples_by_source:
        fractions = spec.fractions or DEFAULT_FRACTIONS
        return split(examples_by_source["all"], fractions, seed=seed, stratify=stratify)
    parts = {part: in_order(found, seed) for part, found in examples_by_source.items()}
    for part in ("train", "test"):
        if not parts.get(part):
            raise TaskError(
                f"the split {part!r} has no usable example",
                next_step="Name a source with rows in it for train and for test.",
            )
    if not parts.get("dev"):
        shares = {"dev": DEV_SHARE_OF_TRAIN, "train": 1 - DEV_SHARE_OF_TRAIN}
        parts |= split(parts["train"], shares, seed=seed, stratify=stratify)
    return {part: parts[part] for part in SPLITS}


def _check_enough_left(
    splits: Mapping[str, Sequence[Example]], leaks: LeakReport, where: str
) -> None:
    remain = ", ".join(f"{len(some)} in {part}" for part, some in splits.items())
    too_few = sum(map(len, splits.values())) < 20 or not all(splits.values())
    if too_few:
        raise TaskError(
            f"{where}: too little is left: {remain}, after {leaks.repeated} repeated "
            f"rows and {leaks.exact + leaks.near} (nearly) the same in another split were left out",
            choices=("add rows that differ", "`leaks: keep`"),
            next_step="At least 20 different examples are needed, some in each split. With "
            "`leaks: keep` copies stay, and the scores are too high.",
        )
