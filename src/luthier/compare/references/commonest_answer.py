"""Always the answer that is commonest in training: what a score means without any reading."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from luthier.compare.references.plain_reference import FittedReference, PlainReference
from luthier.records import FitRecord

if TYPE_CHECKING:
    from luthier.task.task import Task


class CommonestAnswer(PlainReference):
    """Never looks at the input."""

    name = "commonest answer"

    def fit(self, task: Task) -> FittedReference:
        """Count the targets of the training split; the first in the alphabet of equals."""
        began = time.perf_counter()
        counts = Counter(example.target for example in task.train)
        answer = min(counts, key=lambda target: (-counts[target], target))
        record = FitRecord(
            fit_seconds=time.perf_counter() - began,
            trainable_parameters=0,
            train_examples=len(task.train),
            settled={"answer": answer},
        )
        return FittedReference(lambda examples: [answer] * len(examples), record)
