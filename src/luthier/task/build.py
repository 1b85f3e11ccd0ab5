"""From a definition and rows to a Task: the one path every task takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from luthier.errors import TaskError, did_you_mean_file
from luthier.records import Example, Kind
from luthier.task.key_reader import MINIMAL_FILE
from luthier.task.leaks import LeakReport, check_leaks
from luthier.task.reading.documents import check_documents
from luthier.task.reading.examples import check_enough, examples_of, labels_of
from luthier.task.reading.formats import FORMATS
from luthier.task.reading.loaders import Table, read_source, take
from luthier.task.spec import DEFAULT_FRACTIONS, TaskSpec, read_task_spec
from luthier.task.splits import in_order, split
from luthier.task.task import SPLITS, Task
from luthier.task.task_file import SUFFIXES, read_task_file, read_text

# Where separate files bring no dev split, this share of train becomes one: 0.2 / (0.6 + 0.2).
DEV_SHARE_OF_TRAIN = 0.25
# Targets checked against a schema; validation is slow, and a wrong schema shows in the first rows.
MOST_VALIDATED = 1000


def load(name: str | Path, *, seed: int = 0) -> Task:
    """The task of a bundled name or a task file."""
    definition = read_task_file(find(name))
    return build(definition, read_tables(definition), seed=seed)


def find(name: str | Path) -> Path:
    """The task file that a name or a path means. TaskError, with what there is, when none does."""
    from luthier.task.bundled import bundled_file, bundled_names

    bundled = bundled_names()
    path = Path(name)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError) as error:
        raise TaskError(
            f"cannot read {str(name)!r}: {error}",
            choices=bundled,
            next_step="Give the path of a task file, or one of the bundled names.",
        ) from error
    if str(name) in bundled and not is_file:
        return bundled_file(str(name))
    if is_folder:
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)[:20]
        raise TaskError(
            f"{str(name)!r} is a folder, not a task file",
            choices=inside or bundled,
            next_step="Name a task file in it." if inside else _how_to_begin("rows.csv"),
        )
    if path.suffix.lower() in FORMATS:
        raise TaskError(
            f"{str(name)!r} is a data file, and a task needs to know what to do with it",
            next_step=_how_to_begin(path.name),
        )
    if is_file and path.suffix.lower() in SUFFIXES:
        return path
    if is_file:
        raise TaskError(
            f"{str(name)!r} is not a task file: its suffix is {path.suffix or 'missing'}",
            choices=SUFFIXES,
            next_step="Rename it to end in .yaml.",
        )
    folder = path.parent
    beside = (
        sorted(str(folder / p.name) for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        if folder.is_dir()
        else []
    )
    choices = (*bundled, *beside[:20])
    raise TaskError(
        f"there is no task {str(name)!r}: no bundled one of that name, and no such file",
        choices=choices,
        next_step=did_you_mean_file(str(name), choices)
        or "Check the path, which counts from the folder you are in; luthier tasks names the "
        "bundled ones, with the file of each to copy and change.",
    )


def _how_to_begin(data: str) -> str:
    return "Write a task file, for instance task.yaml, and name that:\n" + MINIMAL_FILE.format(
        data=data
    )


def read_tables(definition: TaskSpec) -> dict[str, Table]:
    """The rows of each source; one source for all splits is under "all"."""
    sources = definition.files or {"all": definition.data or ""}
    return {
        part: read_source(
            source,
            columns=definition.columns,
            encoding=definition.encoding,
            limit=definition.limit,
        )
        for part, source in sources.items()
    }


def build(definition: TaskSpec, tables: Mapping[str, Table], *, seed: int) -> Task:
    """Rows to examples, examples to splits, splits checked for leaks."""
    check_documents(definition.knowledge)
    notes: list[str] = []
    read: dict[str, Sequence[Example]] = {}
    for part, table in tables.items():
        found, remarks = examples_of(table, definition)
        if part in SPLITS:
            # Ids often begin anew in every file.
            found = [replace(e, id=f"{part}-{e.id}") for e in found]
        read[part] = found
        notes += remarks
    everything = [e for found in read.values() for e in found]
    where = next(iter(tables.values())).source if len(tables) == 1 else definition.name
    check_enough(everything, where)
    labels = labels_of(everything, definition, where)
    schema = _schema(definition, everything)
    splits, leaks = check_leaks(
        _splits(read, definition, seed), drop=definition.drop_leaks, labels=bool(labels)
    )
    _refuse_too_little_left(splits, leaks, where)
    notes += _remarks(splits, labels, leaks)
    return Task(
        name=definition.name,
        instruction=definition.instruction,
        kind=definition.kind,
        scorer=definition.scorer,
        train=splits["train"],
        dev=splits["dev"],
        _test=splits["test"],
        labels=labels,
        label_descriptions=definition.label_descriptions,
        context=definition.context,
        objective=definition.objective,
        schema=schema,
        unconstrained=definition.unconstrained,
        leaks=leaks,
        input_name=definition.input_name,
        target_name=definition.target_name,
        knowledge=definition.knowledge,
        max_new_tokens=definition.max_new_tokens,
        price_book=definition.price_book,
        notes=tuple(notes),
    )


def _splits(
    read: Mapping[str, Sequence[Example]], definition: TaskSpec, seed: int
) -> dict[str, tuple[Example, ...]]:
    stratify = definition.kind is Kind.CLASSIFY
    if "all" in read:
        fractions = definition.fractions or DEFAULT_FRACTIONS
        return split(read["all"], fractions, seed=seed, stratify=stratify)
    parts = {part: in_order(found, seed) for part, found in read.items()}
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


def _refuse_too_little_left(
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


def _remarks(
    splits: Mapping[str, Sequence[Example]], labels: Sequence[str], leaks: LeakReport
) -> list[str]:
    notes = []
    counts = {part: Counter(e.target for e in some) for part, some in splits.items()}
    unlearnt = [label for label in labels if not counts["train"][label]]
    unasked = [label for label in labels if not counts["test"][label]]
    for labels_without, part in ((unlearnt, "training"), (unasked, "test")):
        if labels_without:
            notes.append(f"No {part} example has the label {', '.join(labels_without)}.")
    notes += _slips(sum(counts.values(), Counter()), labels)
    leaked = leaks.exact + leaks.near
    if leaked:
        done = "left out of train and dev" if leaks.dropped else "kept, so the scores are too high"
        notes.append(
            f"Examples that stand the same ({leaks.exact:,}) or nearly the same ({leaks.near:,}) "
            f"in another split: {done}."
        )
    if leaks.repeated:
        notes.append(f"Rows that repeat another row of their split: {leaks.repeated:,}, left out.")
    if leaks.conflicting:
        notes.append(f"Inputs that carry more than one label: {leaks.conflicting:,}.")
    if leaks.straddling_groups:
        done = "left out of train and dev" if leaks.dropped else "kept"
        notes.append(
            f"Groups that stand on two sides of a split: {leaks.straddling_groups:,}, {done}."
        )
    return notes


def _slips(counts: Mapping[str, int], labels: Sequence[str]) -> list[str]:
    """Labels that stand once or twice and are spelt nearly as one that is far commoner."""
    notes = []
    for label in (label for label in labels if 1 <= counts[label] <= 2):
        commoner = [other for other in labels if counts[other] >= 5 * counts[label]]
        close = get_close_matches(label, commoner, n=1, cutoff=0.85)
        if close:
            often = "once" if counts[label] == 1 else "twice"
            notes.append(
                f"The label {label!r} stands {often}: is it {close[0]!r}? "
                f"`rename: {{{label}: {close[0]}}}` in the task file would make it so."
            )
    return notes


def _schema(definition: TaskSpec, examples: Sequence[Example]) -> dict[str, Any] | None:
    """The JSON schema, itself valid, that the targets hold to."""
    if definition.schema is None:
        return None
    import jsonschema

    schema: Any = definition.schema
    if isinstance(schema, str):
        text = read_text(Path(schema))
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TaskError(
                f"{definition.schema}: not JSON: {error}", next_step="Mend the schema file."
            ) from error
    if not isinstance(schema, Mapping):
        raise TaskError(
            "the schema is not a JSON object", next_step='Write {"type": "object", ...}'
        )
    schema = dict(schema)
    try:
        check = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
        check.check_schema(schema)
        json.dumps(schema)
        validator = check(schema)
        for e in examples[:MOST_VALIDATED]:
            validator.validate(json.loads(e.target))
    except json.JSONDecodeError as error:
        raise TaskError(
            f"example {e.id}: its target is not JSON: {e.target[:60]!r}",
            next_step="With a schema every target must be JSON; or leave the schema out.",
        ) from error
    except jsonschema.ValidationError as error:
        raise TaskError(
            f"example {e.id}: its target does not hold to the schema: {error.message[:160]}",
            next_step="Mend the rows or the schema.",
        ) from error
    # A wrong schema, a pattern that is no regular expression, a reference that leads nowhere.
    except Exception as error:
        raise TaskError(
            f"the schema is no valid JSON schema: {str(error).splitlines()[0][:160]}",
            next_step="See json-schema.org/understanding-json-schema.",
        ) from error
    checked: dict[str, Any] = schema
    return checked


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
    for column in ("passage", "evidence", "group", "id"):
        if column in seen:
            settings.setdefault(column, column)
    if settings["target"] == "target":
        classify = settings.get("kind", Kind.CLASSIFY) == Kind.CLASSIFY
        settings.setdefault("target_name", "Label" if classify else "Answer")
    if set(parts) == {"all"}:
        settings["data"] = "memory"
    else:
        settings["split"] = dict.fromkeys(parts, "memory")
    definition = read_task_spec(settings, where="Task.from_examples")
    tables = {
        part: take(enumerate(some, 1), part if part != "all" else "rows", definition.columns)
        for part, some in plain.items()
    }
    return build(definition, tables, seed=seed)


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
        }
        return {key: value for key, value in filled.items() if value is not None}
    if isinstance(row, Sequence) and not isinstance(row, str) and len(row) == 2:
        return {"input": row[0], "target": row[1]}
    raise TaskError(
        f"a row is a {type(row).__name__}",
        choices=("a dict", "an (input, target) pair", "an Example"),
        next_step="Give rows of one of these.",
    )
