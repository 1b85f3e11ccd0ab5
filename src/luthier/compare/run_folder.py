"""The run folder: may a comparison be kept there, and which model does it recommend?"""

from __future__ import annotations

import os
from pathlib import Path

from luthier.compare.comparison import BaseFacts, Comparison, TaskFacts
from luthier.errors import UserError
from luthier.ledger.run_ledger import LEDGER_FILE, Ledger
from luthier.serialization import loads

# Files of a saved model or a checkpoint. A comparison in their folder would change that model.
MODEL_FILES = ("luthier.yaml", "config.json", "adapter_config.json")


def check_folder(folder: Path, task: str, model: str | None = None) -> None:
    """UserError where no comparison of `task` on the base `model` can be kept in `folder`.

    That is where it is a file, cannot be written, is the folder of a model, or holds comparisons of
    another task or another base. `model` is None while the base is not known yet. It is called
    before anything heavy loads.
    """
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise UserError(
            f"--out {folder}: {existing} is a file, not a folder", next_step="Name a folder."
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(
            f"--out {folder}: {existing} cannot be written",
            next_step="Choose a folder you may write to with --out.",
        )
    if (folder / LEDGER_FILE).is_file():
        _refuse_another(folder, task, model)
        return
    model_file = next((name for name in MODEL_FILES if (folder / name).is_file()), None)
    if model_file is not None:
        raise UserError(
            f"--out {folder} is the folder of a model: it holds {model_file}",
            next_step="Choose another --out folder; a run keeps its models in folders of its own.",
        )


def pick_folder(model: str) -> str:
    """The folder of the verdict's pick where `model` is a run folder; else `model` as it is.

    Raises UserError where the comparison in the run folder has no pick.
    """
    if not (Path(model) / LEDGER_FILE).is_file():
        return model
    comparison = Comparison.load(model)
    pick = comparison.verdict.pick
    if pick is None:
        unfinished = any(r.status in ("planned", "stopped") for r in comparison.results)
        raise UserError(
            f"The comparison in {model} has no pick: {comparison.verdict.because}",
            choices=[result.path for result in comparison.results if result.path],
            next_step="Run the comparison to its end, or name one technique's folder."
            if unfinished
            else "Name the folder of one technique.",
        )
    return comparison.result(pick).path or model


def _refuse_another(folder: Path, task: str, model: str | None) -> None:
    """A run folder is for one task and one base, because its techniques' folders are."""
    with Ledger(folder / LEDGER_FILE) as ledger:
        comparisons = ledger.comparisons()
    if not comparisons:
        return
    last = comparisons[-1]
    before = loads(TaskFacts, last.task).name, loads(BaseFacts, last.model).name
    now = task, model or before[1]
    if before != now:
        raise UserError(
            f"--out {folder} holds a comparison of {before[0]} on {before[1]}, and this is one of "
            f"{now[0]} on {now[1]}",
            next_step="Choose another --out folder, or leave --out away.",
        )
