"""A comparison as runs of MLflow."""

from __future__ import annotations

import os

from luthier.compare.comparison import Comparison
from luthier.report.trackers.tracked_rows import missing, tracked_rows


def write_mlflow(comparison: Comparison, place: str) -> int:
    """Write a run for each technique to a tracking address or folder, in an experiment with the
    name of the task; returns how many. UserError without the package.

    Nothing is told to MLflow's makers.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise missing("mlflow-skinny") from error
    client = MlflowClient(place)
    name = comparison.task.name
    known = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if known is None else known.experiment_id
    rows = tracked_rows(comparison)
    for row in rows:
        run = client.create_run(experiment, tags=dict(row.tags), run_name=row.name).info.run_id
        for key, value in row.parameters.items():
            client.log_param(run, key, str(value)[:500])
        for key, number in row.metrics.items():
            client.log_metric(run, key, number)
        client.log_text(run, comparison.verdict.because, "verdict.txt")
        if row.file is not None:
            client.log_artifact(run, str(row.file))
        client.set_terminated(run)
    return len(rows)
