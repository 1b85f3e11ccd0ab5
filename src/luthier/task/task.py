"""Task = data + instruction + scorer.

A task has three splits. `without_test()` returns the same task with its test split removed, not
merely hidden: this is what a technique is fitted on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from luthier.errors import LockedSplitError, TaskError, TechniqueError, did_you_mean
from luthier.models.adaptation import Decoding
from luthier.models.prompt import Prompt, PromptFormat
from luthier.records import Example, Kind
from luthier.task.fingerprint import example_hash, examples_digest, task_fingerprint
from luthier.task.leaks import LeakReport
from luthier.task.spec import SPLITS, TaskSpec

# The longest answer by default, in tokens; a task file overrides it with `max_new_tokens`.
MOST_NEW_TOKENS = 256


@dataclass(frozen=True, repr=False)
class Task:
    """A task with its data. Build one with `Task.load` or `Task.from_examples`.

    `spec` is the definition of the task, with the labels and the schema filled in; the fields that
    others read are properties here. `leaks` counts the examples that stood in two splits.
    `notes` are sentences about the data for a reader of the results.
    """

    spec: TaskSpec
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    _test: tuple[Example, ...] | None
    leaks: LeakReport = field(default_factory=LeakReport)
    notes: tuple[str, ...] = ()
    _test_facts: tuple[int, str] | None = None  # count and digest of a test split taken out

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
        from luthier.task.from_memory import from_memory

        return from_memory(rows, inputs=inputs, targets=targets, seed=seed, keys=keys)

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.spec.name

    @property
    def instruction(self) -> str:
        """What a model is asked to do."""
        return self.spec.instruction

    @property
    def kind(self) -> Kind:
        """What is asked for: a label, an answer, a text, ..."""
        return self.spec.kind

    @property
    def scorer(self) -> str | Callable[..., Any]:
        """A scorer's name, "path/module.py:function", or a callable."""
        return self.spec.scorer

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels to choose from; empty unless the kind is classify."""
        return self.spec.labels

    @property
    def label_descriptions(self) -> tuple[tuple[str, str], ...]:
        """(label, description) of each label that has a description."""
        return self.spec.label_descriptions

    @property
    def context(self) -> str:
        """Background that belongs to the task; the passage of one example is `Example.context`."""
        return self.spec.context

    @property
    def objective(self) -> str:
        """What the answers are for, in words."""
        return self.spec.objective

    @property
    def input_name(self) -> str:
        """The name of the input in a prompt."""
        return self.spec.input_name

    @property
    def target_name(self) -> str:
        """The name of the answer in a prompt."""
        return self.spec.target_name

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema that answers follow, where the task has one."""
        assert not isinstance(self.spec.schema, str), "the schema file has not been read"
        return self.spec.schema

    @property
    def knowledge(self) -> tuple[str, ...]:
        """The documents in which answers can be looked up."""
        return self.spec.knowledge

    @property
    def price_book(self) -> str | None:
        """The path of a file of prices, where the task has its own."""
        return self.spec.price_book

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
        """The number of test examples, also where they have been taken out."""
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
        """The same task with the same fingerprint, without the test examples."""
        return replace(self, _test=None, _test_facts=self._facts)

    def base_prompt(self) -> Prompt:
        """The prompt that the task file itself describes, without demonstrations.

        In question answering the question stands before its passage and again after it.
        """
        place: Literal["after", "around"] = (
            "around" if self.kind is Kind.QUESTION_ANSWERING else "after"
        )
        spec = self.spec
        return Prompt(
            instruction=spec.instruction,
            context=spec.context,
            objective=spec.objective,
            labels=spec.labels,
            label_descriptions=spec.label_descriptions,
            format=PromptFormat(
                input_name=spec.input_name, target_name=spec.target_name, input_place=place
            ),
        )

    def base_decoding(self) -> Decoding:
        """How answers are read: by scoring the labels where there are some, else up to a stop.

        The stop is the shortest separator that no training target contains. The length limit, where
        the task sets none, is twice the words of a long training target (95th percentile), at least
        16 and at most 256 tokens; JSON is counted at two characters a token. A task of kind extract
        with a schema that a grammar can follow is generated under it, unless the task is
        `unconstrained`.
        """
        if self.labels:
            return Decoding(labels=self.labels)
        limit = self.spec.max_new_tokens or self._usual_length()
        free = Decoding(max_new_tokens=limit, stop=self._stop())
        if self.kind is not Kind.EXTRACT or self.schema is None or self.spec.unconstrained:
            return free
        try:
            return replace(free, json_schema=self.schema)
        except TechniqueError:  # a valid schema that no grammar can follow (a remote $ref)
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
        return (f"\n\n{self.spec.input_name}:",)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the definition and every example of every split.

        Two tasks with the same fingerprint lead to the same results. A custom scorer counts with
        the text of its file. Notes, leak report and prices do not count.
        """
        return task_fingerprint(
            self.spec,
            train=examples_digest(self.train),
            dev=examples_digest(self.dev),
            test=self._facts[1],
        )

    @cached_property
    def example_hashes(self) -> tuple[str, ...]:
        """The hashes of the examples of train and dev: what a fit can see. A model keeps them, so
        that it can be told later which examples it has met."""
        return tuple(sorted({example_hash(e) for e in (*self.train, *self.dev)}))

    @cached_property
    def _facts(self) -> tuple[int, str]:
        if self._test is None:
            return self._test_facts or (0, "")
        return len(self._test), examples_digest(self._test)

    def __repr__(self) -> str:
        test = f"{self.test_count} test" + (" (locked)" if self.is_locked else "")
        return (
            f"Task({self.name!r}, {self.kind}, {len(self.labels)} labels, "
            f"{len(self.train)} train, {len(self.dev)} dev, {test})"
        )
