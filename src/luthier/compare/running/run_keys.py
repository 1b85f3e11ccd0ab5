"""What makes two runs the same run: the key under which the ledger stores it.

The key covers everything that can change a result, the seed included, so that repeats are
independent. It does not cover the comparison a run belongs to, prices or the time.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from luthier.ledger.provenance import luthier_version
from luthier.models.model import Model
from luthier.serialization import digest, to_plain
from luthier.techniques.base import settings_of

if TYPE_CHECKING:
    from luthier.task.task import Task
    from luthier.techniques.base import Technique


LONGEST_SLUG = 80
REFIT = "refit"  # the purpose of a run in the ledger: the pick on train and dev


def model_identity(model: Model) -> str:
    """The base's fingerprint; with an adaptation on it, a hash of both."""
    if not model.adaptation.filled:
        return model.backend.fingerprint
    adaptation = to_plain(model.adaptation, replace=_identity)
    return digest([model.backend.fingerprint, adaptation])


def technique_identity(technique: Technique) -> dict[str, Any]:
    """Name, class and settings, as plain values that are the same in every process."""
    kind = type(technique)
    identity = {
        "name": technique.name,
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "settings": plain_settings(technique),
    }
    # A setting may name something on disk, an index for instance: its content counts, not its name.
    content = technique.content()
    return {**identity, "content": content} if content else identity


def plain_settings(technique: Technique) -> dict[str, Any]:
    """The settings of a technique as plain values."""
    settings: dict[str, Any] = to_plain(settings_of(technique), replace=_identity)
    return settings


def run_key(
    task: Task, model: str, technique: Technique, *, seed: int, budget_tokens: int | None,
    limit: int | None, part: str = "",
) -> str:  # fmt: skip
    """The key of one run.

    `model` is a `model_identity`. `part` tells apart the runs of one technique, seed and budget:
    the steps of a recipe ("1 few-shot") and the points of a learning curve ("curve 0.5").
    """
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

    A long name is cut and ends in a hash, because file systems allow 255 bytes.
    """
    plain = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "technique"
    return plain if len(plain) <= LONGEST_SLUG else f"{plain[:LONGEST_SLUG]}-{digest(name)[:8]}"


def refit_folder(slug: str) -> str:
    """The folder of the refitted pick, beside that of the pick."""
    return f"{slug}-{REFIT}"


def _identity(value: Any) -> Any:
    """What stands for a value in a key: the fingerprint of a model, shape and hash of a tensor, the
    qualified name of a function, and the class of a record beside its fields."""
    if isinstance(value, Model):
        return model_identity(value)
    if is_dataclass(value) and not isinstance(value, type):
        values = {f.name: getattr(value, f.name) for f in fields(value)}
        return {"class": type(value).__qualname__, **values}
    if hasattr(value, "detach"):
        array = value.detach().float().cpu().contiguous().numpy()
        return [list(value.shape), hashlib.sha256(array.tobytes()).hexdigest()]
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    return value
