"""Task = data + instruction + scorer.

A task has three splits. `without_test()` returns the same task with its test split removed, not
merely hidden: this is what a technique is fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.errors import (
    CapabilityError,
    LockedSplitError,
    TaskError,
    TechniqueError,
    did_you_mean,
)
from luthier.models.adaptation import Decoding
from luthier.models.prompt import Prompt, PromptFormat
from luthier.records import Capability, Example, Kind, Transcripts
from luthier.task.fingerprint import example_hash, examples_digest, task_fingerprint
from luthier.task.leaks import LeakReport
from luthier.task.spec import SPLITS, TaskSpec

if TYPE_CHECKING:
    from luthier.models.backend import Backend

# Bounds of an answer's length by default, in tokens; a task file overrides it with
# `max_new_tokens`.
LEAST_NEW_TOKENS, MOST_NEW_TOKENS = 16, 1024
ROOM = 1.25  # of the limit, over the longest training target
LONGEST_COUNTED = 20  # training targets whose tokens are counted


@dataclass(frozen=True, repr=False)
class Task:
    """A task with its data. Build one with `Task.load` or `Task.from_examples`.

    `spec` is the definition of the task, with the labels and the schema filled in; the fields that
    others read are properties here. `leaks` counts the examples that stood in two splits.
    `notes` are sentences about the data for a reader of the results. `transcripts` are there where
    the inputs were sound files. `file` is the task file it was read from; None where it is bundled
    or was made in memory.
    """

    spec: TaskSpec
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    _test: tuple[Example, ...] | None
    leaks: LeakReport = field(default_factory=LeakReport)
    notes: tuple[str, ...] = ()
    _test_facts: tuple[int, str] | None = None  # count and digest of a test split taken out
    transcripts: Transcripts | None = None
    file: str | None = field(default=None, compare=False)

    @classmethod
    def load(cls, name: str | Path, *, seed: int = 0, allow_code: bool = False) -> Task:
        """The task of a bundled name or a YAML task file. `seed` moves examples between splits.

        A file that names Python of its own (rows, documents, a scorer) is refused without
        `allow_code`, for that code may do whatever you may do.

        Raises TaskError, with the value, the choices and the next step, for anything unusable.
        """
        from luthier.task.build import load

        return load(name, seed=seed, allow_code=allow_code)

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
    def tools(self) -> tuple[str, ...]:
        """The addresses of what a model may call."""
        return self.spec.tools

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
        heard = self.transcripts
        if heard is not None:
            fitted = tuple(r for r in heard.recordings if r.split in ("train", "dev"))
            heard = replace(heard, recordings=fitted)
        return replace(self, _test=None, _test_facts=self._facts, transcripts=heard)

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
            negative=spec.negative,
            format=PromptFormat(
                input_name=spec.input_name, target_name=spec.target_name, input_place=place
            ),
        )

    def base_decoding(self, backend: Backend | None = None) -> Decoding:
        """How answers are read: by scoring the labels where there are some, else up to a stop.

        The stop is the shortest separator that no training target contains. The length limit, where
        the task sets none, is a quarter above the longest training target (or, where that is an
        outlier, above twice the 95th percentile), in tokens of `backend`, at least 16 and at most
        1,024. Without a backend, and for a server, which does not tell its tokens beforehand, two
        ASCII characters count as a token, and every byte of any other character.

        A task of kind extract with a schema that a grammar can follow is generated under it, unless
        the task is `unconstrained`.

        CapabilityError for a backend that gives text where pictures are asked for, or pictures
        where text is.
        """
        if backend is not None:
            self.check_suits(backend)
        if self.kind is Kind.IMAGE:
            return Decoding(steps=self.spec.steps)
        if self.labels:
            return Decoding(labels=self.labels)
        limit = self.spec.max_new_tokens or self._usual_length(backend)
        free = Decoding(max_new_tokens=limit, stop=self._stop())
        if self.kind is not Kind.EXTRACT or self.schema is None or self.spec.unconstrained:
            return free
        try:
            return replace(free, json_schema=self.schema)
        except TechniqueError:  # a valid schema that no grammar can follow (a remote $ref)
            return free

    def check_suits(self, backend: Backend) -> None:
        """CapabilityError for a backend that gives text where pictures are asked for, or pictures
        where text is."""
        draws, asks = Capability.DRAWING in backend.capabilities, self.kind is Kind.IMAGE
        if draws == asks:
            return
        if asks:
            raise CapabilityError(
                f"The task {self.name!r} asks for pictures, and {backend.name} answers with text",
                choices=("mini-scene", "a folder that diffusers wrote", "org/name from the hub"),
                next_step="Give a model that draws: --model mini-scene.",
            )
        raise CapabilityError(
            f"The task {self.name!r} asks for text ({self.kind}), and {backend.name} draws "
            "pictures",
            choices=("nano", "a folder with config.json", "http(s)://…/v1#model"),
            next_step="Give a model of text: --model nano. A task of pictures has `kind: image`.",
        )

    def _usual_length(self, backend: Backend | None) -> int:
        by_length = sorted((e.target for e in self.train), key=_most_tokens)
        if not by_length:
            return MOST_NEW_TOKENS
        known = backend is not None and not backend.facts.remote
        count = backend.count_tokens if backend is not None and known else _most_tokens
        usual = count(by_length[min(len(by_length) - 1, int(0.95 * len(by_length)))])
        longest = max(count(target) for target in by_length[-LONGEST_COUNTED:])
        limit = math.ceil(ROOM * min(longest, 2 * usual)) + 1  # what ends an answer is a token too
        return max(LEAST_NEW_TOKENS, min(MOST_NEW_TOKENS, limit))

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


def _most_tokens(text: str) -> int:
    """About as many tokens as a text can have: a base that knows its language has fewer."""
    ascii_characters = sum(character.isascii() for character in text)
    return math.ceil(ascii_characters / 2) + len(text.encode()) - ascii_characters
