"""The folder in which a feedback loop lives, and the store in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from luthier.ledger.feedback_store import FeedbackStore

Folder = Annotated[
    Path,
    typer.Option(
        "--folder", help="Where items, opinions and rounds are kept: ledger.sqlite and models/."
    ),
]
DEFAULT_FOLDER = Path("feedback")


def open_store(folder: Path, *, must_exist: bool = True) -> FeedbackStore:
    """The store of a folder; FeedbackError where there is none and one must be there."""
    from luthier.errors import FeedbackError
    from luthier.ledger.database import LEDGER_FILE
    from luthier.ledger.feedback_store import FeedbackStore

    path = folder / LEDGER_FILE
    if must_exist and not path.is_file():
        raise FeedbackError(
            f"{folder} holds no feedback yet ({LEDGER_FILE} is not there)",
            next_step="Begin with luthier feedback sample MODEL --prompts FILE, or luthier "
            "feedback import FILE; --folder names another place.",
        )
    return FeedbackStore(path)
