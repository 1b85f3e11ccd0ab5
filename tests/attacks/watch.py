"""Whether an attack ended: with a result or with a refusal in words, and not by the end of time."""

from __future__ import annotations

import time
from contextlib import contextmanager

from luthier.errors import LuthierError

MOST_SECONDS = 30.0  # of this process's own work: a busy machine is no failure


@contextmanager
def ends(what=""):
    """A LuthierError is as right as a result; anything else, and a hang, is a failure."""
    began = time.process_time()
    try:
        yield
    except LuthierError as error:
        is_told = bool(error.problem.strip()) and len(str(error)) < 20_000
        assert is_told, (what, str(error)[:500])  # noqa: PT017 - a refusal is as right as a result
    assert time.process_time() - began < MOST_SECONDS, what
