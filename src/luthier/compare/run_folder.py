"""The run folder: may a comparison be kept there, and which model does it recommend?"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from luthier.compare.comparison import Comparison
from luthier.compare.subject import TaskFacts, stored_bases
from luthier.errors import UserError
from luthier.ledger.row_reading import read_row
from luthier.ledger.run_ledger import LEDGER_FILE, Ledger
from luthier.safety.inside import inside_by_name

# Files of a saved model or a checkpoint. A comparison in their folder would change that model.
MODEL_FILES = ("luthier.yaml", "config.json", "adapter_config.json")
# What a comparison writes into its folder, beside a folder for each technique.
COMPARISON_FILE = "comparison.json"
RUN_FILES = ("plan.json", COMPARISON_FILE, "report.html", "artifacts", "work", "errors")


def check_folder(folder: Path, task: str, model: str | None = None) -> None:
    """UserError where no comparison of `task` on the bases `model` can be kept in `folder`.

    That is where it is a file, cannot be written, is the folder of a model, or holds comparisons of
    another task or other bases. `model` is None while they are not known yet. It is called before
    anything heavy loads.
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
    theirs = next((name for name in RUN_FILES if (folder / name).exists()), None)
    if theirs is not None:
        raise UserError(
            f"--out {folder} holds {theirs}, which a comparison would replace, and no ledger: it "
            "is not the folder of a comparison",
            next_step="Choose another --out folder, or move that away.",
        )
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
    folder = pick_of(Path(model))
    if folder is None:
        comparison = Comparison.load(model)
        unfinished = any(r.status in ("planned", "stopped") for r in comparison.results)
        raise UserError(
            f"The comparison in {model} has no pick: {comparison.verdict.because}",
            choices=[result.path for result in comparison.results if result.path],
            next_step="Run the comparison to its end, or name one technique's folder."
            if unfinished
            else "Name the folder of one technique.",
        )
    return str(folder)


def pick_of(run: Path) -> Path | None:
    """The folder of the verdict's pick in a run folder; None where there is none.

    Of a comparison that has ended it is read as it was written: to reckon the verdict again loads
    statistics that take longer than the model. UserError or StorageError where nothing can be read.
    """
    with Ledger.to_read(run / LEDGER_FILE) as ledger:
        comparisons = ledger.comparisons()
    last = comparisons[-1] if comparisons else None
    if last is not None and last.finished is not None and last.finished >= last.touched:
        with suppress(OSError, ValueError, LookupError, TypeError):
            written = json.loads((run / COMPARISON_FILE).read_text("utf-8"))
            if written["id"] == last.id:
                return _folder_of(run, written["verdict"]["pick"], written["results"])
    comparison = Comparison.load(run)
    pick = comparison.verdict.pick
    return None if pick is None else Path(comparison.result(pick).path or run)


def _folder_of(run: Path, pick: str | None, results: list[dict[str, str]]) -> Path | None:
    """The folder of one technique among the results of a written comparison."""
    if pick is None:
        return None
    slugs = {result["technique"]: result["slug"] for result in results}
    return inside_by_name(run, slugs[pick], found_in=COMPARISON_FILE)


def _refuse_another(folder: Path, task: str, model: str | None) -> None:
    """A run folder is for one task and its bases, because its techniques' folders are."""
    with Ledger(folder / LEDGER_FILE) as ledger:
        comparisons = ledger.comparisons()
    if not comparisons:
        return
    last = comparisons[-1]
    bases = ",".join(base.name for base in stored_bases(last.model))
    task_facts = read_row(TaskFacts, last.task, row=f"comparison {last.id}, task")
    before = task_facts.name, bases
    now = task, model or before[1]
    if before != now:
        raise UserError(
            f"--out {folder} holds a comparison of {before[0]} on {before[1]}, and this is one of "
            f"{now[0]} on {now[1]}",
            next_step="Choose another --out folder, or leave --out away.",
        )
