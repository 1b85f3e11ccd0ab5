"""The run folder, looked at before anything heavy loads: can this comparison be kept there?"""

from __future__ import annotations

import os
from pathlib import Path

from luthier.compare.assemble import LEDGER
from luthier.compare.comparison import BaseFacts, TaskFacts
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
