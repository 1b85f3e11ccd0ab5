"""Python that a task file names: it runs only where the user allows it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from luthier.errors import TaskError

NO = ("", "0", "false", "no", "off")


def check_code(named: Sequence[str], *, found_in: str, allowed: bool) -> None:
    """TaskError where a file names code and nobody allowed it: neither the caller nor the setting
    `LUTHIER_ALLOW_CODE`. `named` holds "path/to/file.py:function"."""
    if not named or allowed or os.environ.get("LUTHIER_ALLOW_CODE", "").lower() not in NO:
        return
    raise TaskError(
        f"{found_in} runs Python of its own: {', '.join(dict.fromkeys(named))}",
        next_step="Read that file, for it may do whatever you may do. If you trust it: "
        "--allow-code, or Task.load(…, allow_code=True), or LUTHIER_ALLOW_CODE=1.",
    )
