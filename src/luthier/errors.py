"""Every error that Luthier raises on purpose, in one tree.

    LuthierError                exit code 1: an error in Luthier or of the machine
    ├── InterruptedRun          stopped before the end (Ctrl-C, time limit); finished work is kept
    ├── StorageError            disk full, ledger locked, artifact missing or changed
    ├── BackendError            a model server failed or sent an unusable response
    └── UserError               exit code 2: the user can correct the input
        ├── TaskError           task file or data
        ├── ModelError          model name, folder, missing tokenizer
        ├── TechniqueError      unknown technique, bad setting
        ├── CapabilityError     the backend lacks what the technique needs
        ├── LockedSplitError    something asked for the test split of a locked task
        ├── FeedbackError       an opinion, an item or a preference file that cannot be used
        └── BudgetError         a budget too small for anything

A message has three parts: what was wrong (with the value), what the choices are, what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import PurePath

from luthier.redaction import redact


class LuthierError(Exception):
    """The root of the tree. `problem` says what was wrong, `choices` what would be right and
    `next_step` what to do; `exit_code` is what the command line returns."""

    exit_code = 1

    def __init__(
        self, problem: str, *, choices: Iterable[str] = (), next_step: str | None = None
    ) -> None:
        # Whatever a message quotes (an address, a server's words), it holds no key and no password.
        self.problem = problem = redact(problem)
        self.choices = tuple(redact(choice) for choice in choices)
        self.next_step = next_step = None if next_step is None else redact(next_step)
        lines = [problem]
        if self.choices:
            lines.append(f"Choices: {', '.join(self.choices)}.")
        if next_step:
            lines.append(next_step)
        super().__init__("\n".join(lines))


class InterruptedRun(LuthierError):  # noqa: N818 - it is no error
    """The run stopped before its end; finished work is in the ledger."""


class StorageError(LuthierError):
    """The disk, the ledger or an artifact failed."""


class BackendError(LuthierError):
    """A model server could not be reached or sent an unusable response."""


class UserError(LuthierError):
    """Input that the user can correct."""

    exit_code = 2


class TaskError(UserError):
    """A task file or its data is unusable."""


class ModelError(UserError):
    """A model cannot be found or opened."""


class TechniqueError(UserError):
    """A technique is unknown, or one of its settings is invalid."""


class CapabilityError(UserError):
    """The backend lacks what the technique needs."""


class LockedSplitError(UserError):
    """The test split was requested where it is locked."""


class FeedbackError(UserError):
    """An opinion, an item, an invite or a preference file cannot be used."""


class BudgetError(UserError):
    """The budget is too small for any work."""


@contextmanager
def from_extra(extra: str, problem: str, *, kind: type[UserError] = UserError) -> Iterator[None]:
    """Around the import of a library that an extra brings: where it is not installed, an error of
    this kind says so, and how to install it."""
    try:
        yield
    except ImportError as error:
        raise kind(problem, next_step=f"pip install 'luthier[{extra}]'") from error


def did_you_mean(value: str, choices: Iterable[str]) -> str | None:
    """A next step that names the closest choice; None when none is close."""
    close = get_close_matches(value, list(choices), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else None


def did_you_mean_file(value: str, choices: Iterable[str]) -> str | None:
    """`did_you_mean` for files: neither one folder nor one suffix makes two names close."""
    stems = {PurePath(choice).stem: choice for choice in choices}
    close = get_close_matches(PurePath(value).stem, list(stems), n=1, cutoff=0.6)
    return f"Did you mean {stems[close[0]]!r}?" if close else None
