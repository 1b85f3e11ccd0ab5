"""One checkpoint with the adapter in its weights, which plain Transformers opens."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from luthier.models.model import Model


def write_merged(model: Model, folder: Path) -> None:
    """Write the merged weights, their configuration and the tokenizer to `folder`."""
    module = merged_module(model)
    module.save_pretrained(folder)
    with model.backend.session(model.adaptation) as session:
        session.tokenizer.save_pretrained(folder)


def merged_module(model: Model) -> Any:
    """A copy of the base with the fork's weights, or with the adapter added to its own."""
    with model.backend.session(model.adaptation) as session:
        if session.peft is None:
            return copy.deepcopy(session.module)
        return copy.deepcopy(session.peft).merge_and_unload()
