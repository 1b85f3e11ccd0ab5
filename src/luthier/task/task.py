"""Task = data + instruction + scorer. What is asked, of whom nothing is said here.

A task has three splits. `without_test()` gives the same task with its test split taken out, not
merely hidden: that is what a technique is given to fit on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from luthier.errors import LockedSplitError, TaskError, TechniqueError, did_you_mean
from luthier.models.adaptation import Decoding
from luthier.models.prompt import Prompt, PromptFormat
from luthier.records import Example, Kind
from luthier.task.leaks import LeakReport
from luthier.task.reading.documents import documents_digest

SPLITS = ("train", "dev", "test")
# Longest answers by default, in tokens; a task file overrides it with `max_new_tokens`.
MOST_NEW_TOKENS = 256


@dataclass(frozen=True, repr=False)
class Task:
    """A task, ready to be asked.

    `scorer` is a name (see `luthier.scoring.scorers`), "path/module.py:function", or a callable.
    `labels` is empty unless the kind is classify. `context` is background that belongs to the task;
    the passage that belongs to one example is `Example.context`. `knowledge` names documents to
    look answers up in; `Example.evidence` is the passage of them that answers: it is never shown,
    and tells whether the search found it. `notes` are sentences about the data for a reader of the
    results. Build one with `Task.load` or `Task.from_examples`.
    """

    name: str
    instruction: str
    kind: Kind
    scorer: str | Callable[..., Any]
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    _test: tuple[Example, ...] | None
    labels: tuple[str, ...] = ()
    label_descriptions: tuple[tuple[str, str], ...] = ()
    context: str = ""
    objective: str = ""
    schema: Mapping[str, Any] | None = field(default=None, hash=False)
    unconstrained: bool = False  # write without following the schema
    leaks: LeakReport = field(default_factory=LeakReport)
    input_name: str = "Input"
    target_name: str = "Answer"
    knowledge: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    price_book: str | None = None
    notes: tuple[str, ...] = ()
    _test_facts: tuple[int, str] | None = None  # count and digest, kept when the split is taken out

    @classmethod
    def load(cls, name: str | Path, *, seed: int = 0) -> Task:
        """The task of a bundled name or a YAML task file. `seed` moves examples between splits.

        Raises TaskError, with the value, the choices and the next step, for anything unusable.
        """
        from luthier.task.build import load

        return load(name, seed=seed)

    @classmethod
    def from_examples(
        cls,
        rows: Iterable[Any] | Mapping[str, Iterable[Any]] | None = None,
        *,
        inputs: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        seed: int = 0,
        **keys: Any,
    ) -> Task:
        """A task from memory.

        `rows` are dicts (then `input=` and `target=` name their columns), (input, target) pairs, or
        `Example`s; or a dict of those by split. Or give `inputs` and `targets` side by side. The
        other keys are those of a task file: `name`, `instruction`, `kind`, `labels`, ...
        """
        from luthier.task.build import from_memory

        return from_memory(rows, inputs=inputs, targets=targets, seed=seed, keys=keys)

    @property
    def test(self) -> tuple[Example, ...]:
        """The test split. LockedSplitError where it has been taken out."""
        if self._test is None:
            raise LockedSplitError(
                f"the test split of task {self.name!r} is locked",
                choices=("train", "dev"),
                next_step="Fit and tune on train and dev; score the finished model with "
                "luthier.evaluate on the whole task.",
            )
        return self._test

    @property
    def is_locked(self) -> bool:
        """Whether the test split has been taken out."""
        return self._test is None

    @property
    def test_count(self) -> int:
        """How many test examples there are, also where they have been taken out."""
        return self._facts[0]

    def examples(self, split: str) -> tuple[Example, ...]:
        """A split by name: train, dev or test."""
        if split == "train":
            return self.train
        if split == "dev":
            return self.dev
        if split == "test":
            return self.test
        raise TaskError(
            f"unknown split {split!r}", choices=SPLITS, next_step=did_you_mean(split, SPLITS)
        )

    def without_test(self) -> Task:
        """The same task, fingerprint and all, that holds no test example."""
        return replace(self, _test=None, _test_facts=self._facts)

    def base_prompt(self) -> Prompt:
        """The prompt the task file itself describes: no demonstrations, nothing searched.

        A question stands before its passage and after it.
        """
        place: Literal["after", "around"] = (
            "around" if self.kind is Kind.QUESTION_ANSWERING else "after"
        )
        return Prompt(
            instruction=self.instruction,
            context=self.context,
            objective=self.objective,
            labels=self.labels,
            label_descriptions=self.label_descriptions,
            format=PromptFormat(
                input_name=self.input_name, target_name=self.target_name, input_place=place
            ),
        )

    def base_decoding(self) -> Decoding:
        """How answers are read: over the labels where there are some, else up to a stop.

        The stop is the shortest separator that no training target holds. The length limit, where
        the task sets none, is twice the words of a long training target (95th percentile), at least
        16 and at most 256 tokens. A task of kind extract with a schema that a grammar can follow is
        written under it, unless the task is `unconstrained`; JSON is counted at two characters a
        token.
        """
        if self.labels:
            return Decoding(labels=self.labels)
        limit = self.max_new_tokens or self._usual_length()
        free = Decoding(max_new_tokens=limit, stop=self._stop())
        if self.kind is not Kind.EXTRACT or self.schema is None or self.unconstrained:
            return free
        try:
            return replace(free, json_schema=self.schema)
        except TechniqueError:  # valid, and beyond a grammar (a remote $ref): the scorer judges
            return free

    def _usual_length(self) -> int:
        if self.schema is not None:
            words = sorted(len(e.target) // 4 for e in self.train)
        else:
            words = sorted(len(e.target.split()) for e in self.train)
        if not words:
            return MOST_NEW_TOKENS
        long = words[min(len(words) - 1, int(0.95 * len(words)))]
        return max(16, min(MOST_NEW_TOKENS, 2 * long))

    def _stop(self) -> tuple[str, ...]:
        targets = [e.target.strip() for e in self.train]
        for separator in ("\n", "\n\n"):
            if not any(separator in target for target in targets):
                return (separator,)
        return (f"\n\n{self.input_name}:",)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the definition and every example of every split.

        Two tasks with one fingerprint lead to the same results. A custom scorer counts with the
        text of its file. Notes, leak report and prices do not count.
        """
        definition = {
            "name": self.name,
            "instruction": self.instruction,
            "kind": str(self.kind),
            "scorer": _scorer_identity(self.scorer),
            "labels": self.labels,
            "label_descriptions": self.label_descriptions,
            "context": self.context,
            "objective": self.objective,
            "schema": self.schema,
            "names": (self.input_name, self.target_name),
            "knowledge": documents_digest(self.knowledge),
            "max_new_tokens": self.max_new_tokens,
            "train": _digest(self.train),
            "dev": _digest(self.dev),
            "test": self._facts[1],
        }
        if self.unconstrained:  # absent elsewhere, so that other tasks keep their fingerprints
            definition["unconstrained"] = True
        text = json.dumps(definition, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _facts(self) -> tuple[int, str]:
        if self._test is None:
            return self._test_facts or (0, "")
        return len(self._test), _digest(self._test)

    def __repr__(self) -> str:
        test = f"{self.test_count} test" + (" (locked)" if self.is_locked else "")
        return (
            f"Task({self.name!r}, {self.kind}, {len(self.labels)} labels, "
            f"{len(self.train)} train, {len(self.dev)} dev, {test})"
        )


def _digest(examples: Sequence[Example]) -> str:
    total = hashlib.sha256()
    for e in examples:
        cells = [e.id, e.input, e.target, e.group, e.context]
        row = json.dumps(cells if e.evidence is None else [*cells, e.evidence], ensure_ascii=True)
        total.update(row.encode() + b"\n")
    return total.hexdigest()


def _scorer_identity(scorer: str | Callable[..., Any]) -> str:
    if not isinstance(scorer, str):
        module = getattr(scorer, "__module__", "")
        return f"{module}:{getattr(scorer, '__qualname__', repr(type(scorer)))}"
    file, colon, function = scorer.rpartition(":")
    if colon and file.endswith(".py"):
        try:
            content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        except OSError:
            content = ""
        return f"{Path(file).name}:{function}:{content}"
    return scorer
