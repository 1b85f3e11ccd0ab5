"""A comparison in MLflow and in W&B's offline format: each technique a run."""

from __future__ import annotations

import json

import pytest

import luthier
from luthier.cli.main import run as command
from luthier.report.trackers.tracked_rows import tracked_rows
from tests.serving_run import make_run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "toys")


def test_a_row_has_what_was_measured_and_nothing_else(run_folder):
    comparison = luthier.Comparison.load(run_folder)
    rows = {row.name: row for row in tracked_rows(comparison)}
    for result in comparison.results:
        row = rows[result.technique]
        assert row.metrics["value"] == row.metrics[result.score.metric] == result.score.value
        assert row.file is not None
        assert None not in row.metrics.values()
    assert [r.name for r in rows.values() if r.tags["pick"] == "true"] == [comparison.verdict.pick]


@pytest.mark.slow
def test_mlflow_gets_a_run_for_each_technique(run_folder, tmp_path):
    pytest.importorskip("mlflow")
    place = tmp_path / "mlruns"
    assert command(["report", str(run_folder), "--mlflow", place.as_uri()]) == 0
    from mlflow.tracking import MlflowClient

    client = MlflowClient(place.as_uri())
    comparison = luthier.Comparison.load(run_folder)
    experiment = client.get_experiment_by_name(comparison.task.name)
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    for result in comparison.results:
        found = runs[result.technique]
        assert found.data.metrics["value"] == result.score.value
        assert found.info.status == "FINISHED"
        names = {f.path for f in client.list_artifacts(found.info.run_id)}
        assert {"luthier.yaml", "verdict.txt"} <= names
    assert set(runs) == {row["technique"] for row in comparison.to_rows()}


@pytest.mark.slow
def test_wandb_gets_an_offline_run_for_each_technique(run_folder, tmp_path):
    pytest.importorskip("wandb")
    assert command(["report", str(run_folder), "--wandb", str(tmp_path)]) == 0
    comparison = luthier.Comparison.load(run_folder)
    offline = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(offline) == len(comparison.to_rows())
    stored = b"".join(p.read_bytes() for run in offline for p in run.glob("*.wandb"))
    for result in comparison.results:
        assert result.technique.encode() in stored
        assert json.dumps(result.score.value).encode() in stored
