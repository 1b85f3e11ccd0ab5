"""What makes two runs the same run: the key under which the ledger keeps it.

Everything that can change a result is in the key, and nothing else: not the comparison it belongs
to, not prices, not the clock. The seed is in it, so repeats are independent of each other.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from luthier.ledger.provenance import luthier_version
from luthier.models.adaptation import Adaptation
from luthier.models.model import Model
from luthier.serialization import canonical, to_plain

if TYPE_CHECKING:
    from luthier.task.task import Task
    from luthier.techniques.base import Technique


LONGEST = 80


def digest(value: Any) -> str:
    """SHA-256 (hex) of a plain value in canonical JSON."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()


def model_identity(model: Model) -> str:
    """The base's fingerprint; with an adaptation on it, a hash of both."""
    if not model.adaptation.filled:
        return model.backend.fingerprint
    return digest([model.backend.fingerprint, _identity(model.adaptation)])


def technique_identity(technique: Technique) -> dict[str, Any]:
    """Name, class and settings, as plain values that are the same in every process."""
    kind = type(technique)
    identity = {
        "name": technique.name,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "settings": settings_plain(technique),
    }
    # A setting may name something on disk, an index for one: what it holds counts, not its name.
    content = technique.content()
    return {**identity, "content": content} if content else identity


def settings_plain(technique: Technique) -> dict[str, Any]:
    """The settings of a technique as plain values."""
    return {
        f.name: _identity(getattr(technique, f.name))
        for f in fields(technique)  # type: ignore[arg-type]
    }


def run_key(
    task: Task, model: str, technique: Technique, *, seed: int, budget_tokens: int | None,
    limit: int | None, part: str = "",
) -> str:  # fmt: skip
    """The key of one run. `model` is a `model_identity`; `part` tells apart what one fit gives
    several of: the steps of a recipe, the points of a learning curve."""
    return digest(
        {
            "luthier": luthier_version(),
            "task": task.fingerprint,
            "model": model,
            "technique": technique_identity(technique),
            "seed": seed,
            "budget_tokens": budget_tokens,
            "limit": limit,
            "part": part,
        }
    )


def slug(name: str) -> str:
    """A name as a folder: "few-shot -> lora(rank=4)" becomes "few-shot-lora-rank-4".

    A long one is cut and ends in a hash, since file systems allow 255 bytes.
    """
    plain = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "technique"
    return plain if len(plain) <= LONGEST else f"{plain[:LONGEST]}-{digest(name)[:8]}"


def _identity(value: Any) -> Any:
    """Like `to_plain`, but tensors by their bytes and models by their fingerprint."""
    return to_plain(value, replace=_identifying)


def _identifying(value: Any) -> Any:
    """What stands for a value in an identity: the value itself where it is plain already."""
    if isinstance(value, Model):
        return model_identity(value)
    if isinstance(value, Adaptation):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        whole = value.detach().float().cpu().contiguous().numpy()
        return [list(value.shape), hashlib.sha256(whole.tobytes()).hexdigest()]
    if is_dataclass(value) and not isinstance(value, type):
        inner = {f.name: getattr(value, f.name) for f in fields(value)}
        return {"class": type(value).__qualname__, **inner}
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    return value
