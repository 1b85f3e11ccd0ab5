"""A small task and techniques without weights, for the tests of compare and of the commands."""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from luthier.context import checkpoint_folder, report_progress
from luthier.models.model import Model
from luthier.models.prompt import Demonstration
from luthier.records import Budget, Capability, FitRecord, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Technique, settings_of

WORDS = {
    "billing": ("invoice", "charge", "refund", "card"),
    "delivery": ("parcel", "courier", "late", "box"),
    "account": ("password", "login", "email", "profile"),
}


def toy_rows(count: int = 120) -> list[dict[str, str]]:
    """Messages that share words with others of their queue, some of them mislabelled."""
    rng = random.Random(0)
    rows = []
    for number in range(count):
        label = rng.choice(sorted(WORDS))
        told = label if rng.random() < 0.85 else rng.choice(sorted(WORDS))
        words = rng.sample(WORDS[label], 2)
        rows.append(
            {"message": f"hello number {number} about {words[0]} and {words[1]}", "queue": told}
        )
    return rows


def toy_task(count: int = 120) -> Task:
    """Three queues that the fake model can learn from demonstrations."""
    return Task.from_examples(
        toy_rows(count),
        name="toy",
        instruction="Which queue?",
        kind="classify",
        input="message",
        target="queue",
    )


@dataclass(frozen=True)
class Drawn(Technique):
    """Demonstrations drawn by the seed, in steps that take time and leave checkpoints.

    `diary` is a file to which every step and every fit that reaches its end adds a line.
    """

    shots: int = 6
    steps: int = 4
    pause: float = 0.0
    diary: str = ""
    fails: str = ""

    name: ClassVar[str] = "drawn"
    family: ClassVar[str] = "adapter"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    trained: ClassVar[bool] = True
    card: ClassVar[Card] = Card("a", "b", "c", "d", "e")

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Draw `shots` demonstrations, as many as steps allow in each step."""
        if self.fails:
            raise RuntimeError(self.fails)
        folder = checkpoint_folder()
        place = folder / "step.json" if folder is not None else None
        done = json.loads(place.read_text("utf-8")) if place and place.is_file() else 0
        for step in range(done, self.steps):
            time.sleep(self.pause)
            report_progress(step, self.steps, "drawing")
            self._note(f"step {seed} {step}")
            if folder is not None and place is not None:
                folder.mkdir(parents=True, exist_ok=True)
                scratch = place.with_suffix(".part")
                scratch.write_text(json.dumps(step + 1), "utf-8")
                scratch.replace(place)
        chosen = random.Random(seed).sample(list(task.train), min(self.shots, len(task.train)))
        shown = tuple(Demonstration(e.input, e.target) for e in chosen)
        record = FitRecord(
            fit_seconds=0.5,
            spent_tokens=1000,
            trainable_parameters=7,
            train_examples=len(task.train),
            dev_score=random.Random(seed + 100).random(),
        )
        self._note(f"fitted {seed} of {len(task.train)}")
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return model.adapt(
            prompt=replace(task.base_prompt(), demonstrations=shown),
            decoding=task.base_decoding(),
            lineage=lineage,
        )

    def _note(self, line: str) -> None:
        if self.diary:
            with Path(self.diary).open("a", encoding="utf-8") as file:
                file.write(line + "\n")


@dataclass(frozen=True)
class Stopped(Drawn):
    """Stands for Ctrl-C in the middle of a fit."""

    name: ClassVar[str] = "stopped"

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Press it."""
        raise KeyboardInterrupt


@dataclass(frozen=True)
class OutOfRoom(Drawn):
    """A checkpoint that no longer fits the disk, as safetensors says it: not an OSError."""

    name: ClassVar[str] = "out-of-room"

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Write it."""
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")


@dataclass(frozen=True)
class Swallowed(Drawn):
    """Ctrl-C while a compiled module is being imported: it comes out as an ImportError."""

    name: ClassVar[str] = "swallowed"

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Press it there."""
        raise ImportError("initialization failed") from KeyboardInterrupt()
