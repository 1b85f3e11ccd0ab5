"""Which bases of a comparison have met its test set, as far as a probe told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from luthier.compare.subject import BaseFacts, TaskFacts
from luthier.probe.saved_findings import contamination_of


def met_test_sets(
    folder: str | None, task: TaskFacts, bases: Sequence[BaseFacts]
) -> dict[str, str]:
    """The verdict ("found", "no sign", "cannot tell") for each base, by its short name, that was
    probed with this task: the newest in `probes/` beside the run folder. Others are left out."""
    if folder is None:
        return {}
    runs = Path(folder).absolute().parent
    found = {
        base.short: contamination_of(
            runs, fingerprint=base.fingerprint, task_fingerprint=task.fingerprint
        )
        for base in bases
    }
    return {name: one.verdict for name, one in found.items() if one is not None}
