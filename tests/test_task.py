"""The Task object: splits, lock, prompt, decoding, fingerprint, memory, bundled tasks."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import LockedSplitError, TaskError
from luthier.records import Example, Kind
from luthier.task.bundled import bundled_names
from luthier.task.bundled.docstrings import docstring_rows, shorten
from luthier.task.splits import split
from luthier.task.task import Task
from tests.task_rows import rows, task_file

KEYS = {"instruction": "Choose the queue.", "input": "message", "target": "queue"}


def task_of(some: list[dict[str, str]], **keys: object) -> Task:
    return Task.from_examples(some, **{**KEYS, **keys})


def test_the_splits_are_disjoint_and_hold_every_row() -> None:
    task = task_of(rows(100))
    inputs = [e.input for part in ("train", "dev", "test") for e in task.examples(part)]
    assert sorted(inputs) == sorted(r["message"] for r in rows(100))
    assert (len(task.train), len(task.dev), len(task.test)) == (60, 20, 20)


def test_every_label_stands_in_every_split() -> None:
    task = task_of(rows(60, labels=[f"l{n}" for n in range(12)]))
    for part in ("train", "dev", "test"):
        assert {e.target for e in task.examples(part)} == set(task.labels)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), grouped=st.booleans())
def test_shuffled_rows_give_the_same_task(seed: int, grouped: bool) -> None:
    some = rows(45)
    keys = {"group": "customer"} if grouped else {}
    task = task_of(some, **keys)
    random.Random(seed).shuffle(some)
    again = task_of(some, **keys)
    assert again == task
    assert again.fingerprint == task.fingerprint


def test_the_seed_moves_examples() -> None:
    one, other = task_of(rows(60), seed=0), task_of(rows(60), seed=1)
    assert {e.id for e in one.test} != {e.id for e in other.test}
    assert one.fingerprint != other.fingerprint


def test_a_row_added_moves_few_others() -> None:
    before, after = task_of(rows(200)), task_of(rows(201))
    side = {e.id: part for part in ("train", "dev", "test") for e in after.examples(part)}
    moved = sum(
        side[e.id] != part for part in ("train", "dev", "test") for e in before.examples(part)
    )
    assert moved <= 6


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.integers(0, 12), min_size=20, max_size=80).filter(
        lambda g: len(set(g)) >= 3
    ),
    labels=st.integers(1, 4),
    seed=st.integers(0, 50),
)
def test_groups_never_straddle_and_no_split_is_empty(
    groups: list[int], labels: int, seed: int
) -> None:
    some = [Example(str(n), f"text {n}", str(n % labels), f"g{g}") for n, g in enumerate(groups)]
    parts = split(some, {"train": 0.6, "dev": 0.2, "test": 0.2}, seed=seed, stratify=True)
    seen: dict[str, str] = {}
    for part, examples in parts.items():
        assert examples
        for e in examples:
            assert e.group is not None
            assert seen.setdefault(e.group, part) == part
    assert sum(len(p) for p in parts.values()) == len(some)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_group_of_most_examples_goes_to_train(labels: int, seed: int) -> None:
    some = [
        Example(str(n), f"text {n}", str(n % labels), "huge" if n < 180 else f"g{n // 2}")
        for n in range(200)
    ]
    parts = split(some, {"train": 0.6, "dev": 0.2, "test": 0.2}, seed=seed, stratify=True)
    assert {e.group for e in parts["train"]} >= {"huge"}
    assert len(parts["test"]) + len(parts["dev"]) >= 12, "the rest is theirs"
    assert min(len(parts["test"]), len(parts["dev"])) >= 4


def test_four_equal_groups_leave_train_two() -> None:
    some = [Example(str(n), f"text {n}", "ab"[n % 2], f"g{n % 4}") for n in range(100)]
    parts = split(some, {"train": 0.6, "dev": 0.2, "test": 0.2}, seed=0, stratify=True)
    assert [len(parts[name]) for name in ("train", "dev", "test")] == [50, 25, 25]


def test_shares_that_were_missed_are_said() -> None:
    some = [{**row, "customer": "huge" if n < 54 else f"c{n}"} for n, row in enumerate(rows(60))]
    task = task_of(some, group="customer")
    missed = [note for note in task.notes if "instead of" in note]
    assert any(note.startswith("The train split holds 9") for note in missed)
    assert any(note.startswith("The test split holds") for note in missed)
    assert not [note for note in task_of(rows(60), group="customer").notes if "instead of" in note]


def test_fractions_are_kept_and_may_be_percentages() -> None:
    task = task_of(rows(100), split={"train": 70, "dev": 10, "test": 20})
    assert (len(task.train), len(task.dev), len(task.test)) == (70, 10, 20)


def test_the_locked_task_holds_no_test_example() -> None:
    task = task_of(rows())
    locked = task.without_test()
    assert locked.is_locked
    assert not task.is_locked
    with pytest.raises(LockedSplitError, match="locked") as caught:
        _ = locked.test
    assert caught.value.choices == ("train", "dev")
    with pytest.raises(LockedSplitError):
        locked.examples("test")
    held = repr(vars(locked))
    assert not any(e.input in held or e.id in held for e in task.test)


def test_locking_keeps_the_fingerprint_and_the_count() -> None:
    task = task_of(rows())
    locked = task.without_test()
    assert locked.fingerprint == task.fingerprint
    assert locked.test_count == len(task.test)
    assert locked.without_test().fingerprint == task.fingerprint
    smaller = replace(locked, train=locked.train[:10])
    assert smaller.fingerprint != task.fingerprint
    assert smaller.is_locked


@pytest.mark.parametrize(
    "change",
    [
        {"instruction": "Pick one."},
        {"objective": "Be right."},
        {"context": "A shop."},
        {"scorer": "macro-f1"},
        {"target_name": "Team"},
    ],
)
def test_the_definition_is_in_the_fingerprint(change: dict[str, str]) -> None:
    assert task_of(rows(), **change).fingerprint != task_of(rows()).fingerprint


def test_fingerprints_do_not_change_from_version_to_version() -> None:
    """Recorded runs are found again by these; the other bundled tasks depend on the Python."""
    assert Task.load("routing").fingerprint == (
        "41320e65e17a7a4e6c24085ee702c58b8445df3380bb8d60bf6ce776a5c3c2bc"
    )
    assert Task.load("routing", seed=1).fingerprint == (
        "74d7f061df3cd38d365af2881c38b202aa683009fbb09b7034240272017ce6c7"
    )
    made = task_of(
        rows(), group="customer", instruction="Which queue?", name="made", context="A shop.",
        objective="Fast.", labels={"a": "first", "b": "", "c": "third"},
    )  # fmt: skip
    assert made.fingerprint == "093ee8fc17fc1c807adac38d4b28b79cccdf788f129e35460cbcce95915753b9"
    extract = Task.from_examples(
        [
            {
                "input": row["message"],
                "target": json.dumps({"queue": row["queue"]}),
                "passage": f"page {row['number']}",
                "evidence": f"ev {row['number']}",
            }
            for row in rows()
        ],
        instruction="Extract.",
        name="extract",
        kind="extract",
        scorer="json-schema",
        schema={"type": "object", "properties": {"queue": {"type": "string"}}},
        unconstrained=True,
        max_new_tokens=30,
    )
    assert extract.fingerprint == (
        "fd71614c5ef61807f724bc04574b59af7279d96be0e235e15a6557740638ec6c"
    )


def test_the_fingerprint_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = task_file(tmp_path, rows())
    program = f"from luthier.task.task import Task; print(Task.load({str(path)!r}).fingerprint)"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == Task.load(path).fingerprint


def test_the_prompt_and_the_decoding_of_a_classification() -> None:
    task = task_of(rows(), labels={"a": "first", "b": "", "c": "third"}, objective="Be quick.")
    prompt = task.base_prompt()
    assert prompt.instruction == "Choose the queue."
    assert prompt.objective == "Be quick."
    assert prompt.labels == ("a", "b", "c")
    assert prompt.label_descriptions == (("a", "first"), ("c", "third"))
    assert (prompt.format.input_name, prompt.format.target_name) == ("Message", "Queue")
    assert prompt.demonstrations == ()
    assert task.base_decoding().labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("target", "stop"),
    [("one line", "\n"), ("two\nlines", "\n\n"), ("a\n\nparagraph", "\n\nMessage:")],
)
def test_the_stop_stands_in_no_target(target: str, stop: str) -> None:
    some = [{**r, "queue": f"{target} {r['number']}"} for r in rows()]
    decoding = task_of(some, kind="generate").base_decoding()
    assert decoding.stop == (stop,)
    assert decoding.labels == ()
    assert decoding.max_new_tokens == 16


def test_the_longest_answer_is_as_said() -> None:
    some = [{**r, "queue": f"{r['number']} " + "word " * 40} for r in rows()]
    limit = task_of(some, kind="generate").base_decoding().max_new_tokens
    assert limit == math.ceil(1.25 * math.ceil(len(f"10 {'word ' * 40}".strip()) / 2)) + 1
    assert task_of(some, kind="chat", max_new_tokens=7).base_decoding().max_new_tokens == 7


@pytest.mark.parametrize(
    ("kind", "scorer"),
    [
        ("classify", "accuracy"),
        ("question-answering", "exact-match"),
        ("extract", "token-f1"),
        ("generate", "rouge-l"),
        ("chat", "chrf"),
    ],
)
def test_the_default_scorer_of_a_kind(kind: str, scorer: str) -> None:
    task = task_of(rows(), kind=kind)
    assert (task.kind, task.scorer) == (Kind(kind), scorer)
    assert bool(task.labels) == (kind == "classify")


def test_memory_takes_pairs_examples_columns_and_splits() -> None:
    some = rows()
    pairs = [(r["message"], r["queue"]) for r in some]
    from_pairs = Task.from_examples(pairs, instruction="Choose.", name="t")
    columns = Task.from_examples(
        inputs=[r["message"] for r in some],
        targets=[r["queue"] for r in some],
        instruction="Choose.",
        name="t",
    )
    assert from_pairs == columns
    assert from_pairs.target_name == "Label"
    examples = [Example(str(n), a, b, context=f"passage {n}") for n, (a, b) in enumerate(pairs)]
    parts = {"train": examples[:40], "dev": examples[40:50], "test": examples[50:]}
    by_split = Task.from_examples(parts, instruction="Choose.")
    assert {e.input for e in by_split.test} == {a for a, _ in pairs[50:]}
    assert all(e.context for e in by_split.train)


def test_a_callable_scorer_is_taken() -> None:
    task = task_of(rows(), scorer=lambda prediction, target: float(prediction == target))
    assert callable(task.scorer)
    assert len(task.fingerprint) == 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": None},
        {"rows": [], "inputs": ["a"], "targets": ["b"]},
        {"inputs": ["a"] * 30, "targets": ["b"] * 29},
        {"rows": [1] * 30},
        {"rows": {"train": rows(), "tset": rows()}},
        {"rows": []},
    ],
)
def test_wrong_memory_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TaskError):
        Task.from_examples(**wrong, **KEYS)  # type: ignore[arg-type]


def test_an_unknown_split_names_the_splits() -> None:
    with pytest.raises(TaskError, match="'tset'") as caught:
        task_of(rows()).examples("tset")
    assert "test" in str(caught.value)


def test_routing_is_large_varied_and_grouped() -> None:
    task = Task.load("routing")
    everything = [*task.train, *task.dev, *task.test]
    assert len(everything) >= 600
    assert len(task.labels) == 8
    assert set(dict(task.label_descriptions)) == set(task.labels)
    assert len({e.input for e in everything}) == len(everything)
    groups = [{e.group for e in task.examples(part)} for part in ("train", "dev", "test")]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert task.leaks.near + task.leaks.exact == 0


def test_docstrings_come_from_this_python_and_do_not_tell_their_module() -> None:
    task = Task.load("docstrings")
    assert len(task.labels) == 8
    assert len(task.train) + len(task.dev) + len(task.test) > 600
    words = {word for e in task.train for word in e.input.lower().split()}
    assert not words & {"asyncio", "unittest", "multiprocessing"}
    assert max(len(e.input.split()) for e in task.train) <= 60
    assert docstring_rows() is docstring_rows()


def test_a_docstring_is_cut_and_its_names_hidden() -> None:
    text = "Parse email by parse_it.\n\nMore of asyncio here.\n\n>>> parse_it(1)\n2"
    assert shorten(text, own_name="parse_it") == "Parse ___ by ___. More of ___ here."
    long = "One two three four. " * 30
    assert shorten(long, own_name="f").endswith("four.")
    assert len(shorten(long, own_name="f").split()) <= 60


def test_the_bundled_names() -> None:
    assert bundled_names() == ("docstrings", "pydoc", "routing", "scenes", "shop")


def test_loading_a_task_imports_nothing_heavy() -> None:
    program = (
        "import sys; from luthier.task.task import Task; Task.load('routing');"
        "heavy = ('torch', 'sklearn', 'pandas', 'pyarrow', 'datasets', 'jsonschema');"
        "print([m for m in heavy if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"
