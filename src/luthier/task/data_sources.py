"""Where the rows of a task come from: the keys `data` and `split` of a task file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from luthier.errors import did_you_mean
from luthier.task.key_reader import KeyReader, short
from luthier.task.spec import SPLITS

DEFAULT_FRACTIONS = {"train": 0.6, "dev": 0.2, "test": 0.2}


def read_sources(
    read: KeyReader,
) -> tuple[str | None, Mapping[str, str] | None, Mapping[str, float] | None]:
    """(data, files, fractions): one source cut by fractions, or one source for each split."""
    split, data = read.get("split"), read.text("data") or None
    if split is None:
        return data or read.required_text("data"), None, DEFAULT_FRACTIONS
    example = "Write for instance `split: {train: 0.6, dev: 0.2, test: 0.2}`."
    if not isinstance(split, Mapping):
        read.fail("split", f"must be a mapping, not {short(split)}", next_step=example)
    for part in split:
        if part not in SPLITS:
            read.fail(
                "split",
                f"has an unknown part {short(part)}",
                choices=SPLITS,
                next_step=did_you_mean(str(part), SPLITS) or example,
            )
    values = list(split.values())
    if values and all(isinstance(v, str) and v.strip() for v in values):
        missing = [part for part in ("train", "test") if part not in split]
        if missing:
            read.fail(
                "split",
                f"names no file for {' and '.join(missing)}",
                next_step="Name one for train and one for test; dev, where it has none, is cut "
                "from train.",
            )
        if data:
            read.fail(
                "split",
                "names files, and `data` names one too",
                next_step="Remove `data`, or give fractions in `split`.",
            )
        return None, {part: split[part].strip() for part in SPLITS if part in split}, None
    if not values or not all(_is_share(v) for v in values):
        read.fail(
            "split",
            f"must hold fractions or files, not {short(dict(split))}",
            next_step=f"{example} Or name a file for each part.",
        )
    whole = math.fsum(float(v) for v in values)
    if set(split) != set(SPLITS) or not (abs(whole - 1) < 0.011 or abs(whole - 100) < 1.1):
        read.fail(
            "split",
            f"has {', '.join(f'{k} {v:g}' for k, v in split.items())}: "
            f"together {whole:g}, and all of {', '.join(SPLITS)} are needed",
            next_step="Make train, dev and test add up to 1.",
        )
    fractions = {part: float(split[part]) / whole for part in SPLITS}
    return data or read.required_text("data"), None, fractions


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 100
