"""A comparison as offline runs of Weights & Biases; `wandb sync FOLDER/wandb/offline-*` sends them
to a server, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.compare.comparison import Comparison
from luthier.report.trackers.tracked_rows import missing, tracked_rows


def write_wandb(comparison: Comparison, folder: Path) -> int:
    """Write a run for each technique below `folder`, in a project with the name of the task;
    returns how many. UserError without the package."""
    try:
        import wandb
    except ImportError as error:
        raise missing("wandb") from error
    folder.mkdir(parents=True, exist_ok=True)
    settings: Any = wandb.Settings(
        mode="offline", silent=True, console="off", disable_git=True, x_disable_stats=True,
        x_disable_meta=True, save_code=False,
    )  # fmt: skip
    rows = tracked_rows(comparison)
    for row in rows:
        run = wandb.init(
            project=comparison.task.name, name=row.name, dir=str(folder), settings=settings,
            config={**row.parameters, **row.tags}, reinit="finish_previous",
            group=comparison.id,
        )  # fmt: skip
        run.log(dict(row.metrics))
        run.summary["verdict"] = comparison.verdict.because
        if row.file is not None:
            artifact = wandb.Artifact(f"{comparison.task.name}-{_slug(row.name)}", "adaptation")
            artifact.add_reference(f"file://{row.file.resolve()}")
            run.log_artifact(artifact)
        run.finish()
    return len(rows)


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
