"""What a tracker gets of each technique: parameters, metrics, tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.compare.comparison import Comparison
from luthier.errors import UserError
from luthier.models.storage import ADAPTATION_FILE

# The columns of `Comparison.to_rows` that are numbers; what was not measured is left out.
WORDS = ("technique", "kind", "status", "metric", "path")


@dataclass(frozen=True, slots=True)
class TrackedRow:
    """One technique or reference as a run of a tracker. `file` is its `luthier.yaml`, None where it
    was not saved."""

    name: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    file: Path | None


def tracked_rows(comparison: Comparison) -> list[TrackedRow]:
    """A row for each technique and each reference."""
    settings = {
        r.technique: r.settings for r in (*comparison.results, *comparison.references)
    }  # fmt: skip
    rows = []
    for row in comparison.to_rows():
        name, path = str(row["technique"]), row["path"]
        metrics = {
            key: float(value)
            for key, value in row.items()
            if key not in WORDS and isinstance(value, int | float)
        }
        if "value" in metrics:
            metrics[str(row["metric"]).replace("/", "-")] = metrics["value"]
        tags = {
            "kind": str(row["kind"]),
            "status": str(row["status"]),
            "comparison": comparison.id,
            "pick": str(name == comparison.verdict.pick).lower(),
            "artifact": "" if path is None else str(Path(path).resolve()),
        }
        parameters = {
            "task": comparison.task.name,
            "task_fingerprint": comparison.task.fingerprint,
            "base": comparison.model.name,
            "base_fingerprint": comparison.model.fingerprint,
            "technique": name,
            **{f"setting.{key}": value for key, value in settings[name].items()},
        }
        file = None if path is None else Path(path) / ADAPTATION_FILE
        rows.append(
            TrackedRow(name, parameters, metrics, tags, file if file and file.is_file() else None)
        )
    return rows


def missing(package: str) -> UserError:
    """The error where the package of a tracker is not installed."""
    return UserError(
        f"this needs the package {package}, which is not installed",
        next_step="pip install 'luthier[trackers]'",
    )
