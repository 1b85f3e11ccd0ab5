"""The run folder, looked at before anything heavy loads: can this comparison be kept there?"""

from __future__ import annotations

import os
from pathlib import Path

from luthier.compare.assemble import LEDGER
from luthier.compare.comparison import BaseFacts, Comparison, TaskFacts
from luthier.errors import UserError
from luthier.ledger.run_ledger import Ledger
from luthier.serialization import loads

# What a saved model or a checkpoint holds: a run there would change it.
_OF_MODELS = ("luthier.yaml", "config.json", "adapter_config.json")


def check_folder(folder: Path, task: str, model: str | None = None) -> None:
    """UserError where `folder` is a file, cannot be written, is that of a model, or holds the
    comparisons of another task or another base (`model`; None: not known yet)."""
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        raise UserError(
            f"--out {folder}: {there} is a file, not a folder", next_step="Name a folder."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(
            f"--out {folder}: {there} cannot be written",
            next_step="Choose a folder you may write to with --out.",
        )
    if (folder / LEDGER).is_file():
        _refuse_another(folder, task, model)
        return
    found = next((name for name in _OF_MODELS if (folder / name).is_file()), None)
    if found is not None:
        raise UserError(
            f"--out {folder} is the folder of a model: it holds {found}",
            next_step="Choose another --out folder; a run keeps its models in folders of its own.",
        )


def _refuse_another(folder: Path, task: str, model: str | None) -> None:
    """The folders of the techniques have room for one task and one base."""
    with Ledger(folder / LEDGER) as store:
        rows = store.comparisons()
    if not rows:
        return
    before = loads(TaskFacts, rows[-1].task).name, loads(BaseFacts, rows[-1].model).name
    now = task, model or before[1]
    if before != now:
        raise UserError(
            f"--out {folder} holds a comparison of {before[0]} on {before[1]}, and this is one of "
            f"{now[0]} on {now[1]}",
            next_step="Choose another --out folder, or leave --out away.",
        )


def pick_folder(model: str) -> str:
    """The folder of the verdict's pick where `model` is a run folder; else `model` as it is.

    Raises UserError where the comparison in the run folder has no pick.
    """
    if not (Path(model) / LEDGER).is_file():
        return model
    comparison = Comparison.load(model)
    pick = comparison.verdict.pick
    if pick is None:
        unfinished = any(result.status in ("planned", "stopped") for result in comparison.rows)
        raise UserError(
            f"The comparison in {model} has no pick: {comparison.verdict.because}",
            choices=[result.path for result in comparison.rows if result.path],
            next_step="Run the comparison to its end, or name one technique's folder."
            if unfinished
            else "Name the folder of one technique.",
        )
    return comparison.row(pick).path or model
