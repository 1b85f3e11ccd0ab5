"""How fast a base is on this machine, steady enough to give the same plan twice.

A budget in minutes becomes tokens through this speed. If it were measured anew each time, the same
command would get other budgets, and other results, on the same machine. It is therefore stored in
the cache folder under the base and the machine. A new measurement replaces the stored one when it
is clearly faster (the machine was busy then). When it is much slower (the machine is busy now) it
is used once and not stored, so that the minutes are kept.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.errors import LuthierError, StorageError
from luthier.ledger.artifacts import write_text
from luthier.ledger.cache import default_cache_path
from luthier.ledger.provenance import provenance
from luthier.serialization import digest

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.task.task import Task

SAMPLE = 8
CLEARLY_FASTER = 1.25
MUCH_SLOWER = 2.0


def speed_file() -> Path:
    """The file in which speeds are stored."""
    return default_cache_path().with_name("speeds.json")


def tokens_per_second(model: Model, task: Task) -> float | None:
    """Forward tokens a second, as the backend measures them or by answering some examples of the
    training split. None when the model does not answer."""
    machine = provenance()
    key = digest(
        [
            model.backend.fingerprint,
            model.backend.facts.device,
            machine.cpu,
            machine.cpu_cores,
            machine.torch,
        ]
    )
    speed, stored = _measure(model, task), _read()
    known = stored.get(key)
    if speed is None:
        return known
    if known is not None and speed < CLEARLY_FASTER * known:
        return known if speed >= known / MUCH_SLOWER else speed
    # Losing it does no harm: the next comparison measures again.
    with suppress(StorageError):
        write_text(speed_file(), json.dumps({**stored, key: speed}, indent=1))
    return speed


def _measure(model: Model, task: Task) -> float | None:
    own = model.backend.tokens_per_second()
    if own is not None:
        return own
    prompted = model.adapt(prompt=task.base_prompt(), decoding=task.base_decoding(model.backend))
    start = time.perf_counter()
    try:
        answers = prompted.answer(task.train[:SAMPLE])
    except LuthierError:
        return None  # the first run will say what is wrong, with its reason in the table
    seconds = time.perf_counter() - start
    tokens = sum(a.usage.prompt_tokens + a.usage.generated_tokens for a in answers)
    return tokens / seconds if tokens and seconds > 0 else None


def _read() -> dict[str, float]:
    try:
        speeds = json.loads(speed_file().read_text("utf-8"))
        return {str(k): float(v) for k, v in speeds.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
