"""Which engine runs a base: the prefix tree, or the plain way that it is checked against."""

from __future__ import annotations

import inspect
import os
from typing import Literal

from luthier.engine.session import Session
from luthier.errors import UserError, did_you_mean

VARIABLE = "LUTHIER_ENGINE"
ENGINES = ("tree", "plain")

Engine = Literal["tree", "plain"]


def chosen_engine() -> Engine:
    """What LUTHIER_ENGINE says: "tree" (each distinct token once, the default) or "plain".

    UserError for any other value.
    """
    value = os.environ.get(VARIABLE, "").strip().lower() or "tree"
    if value == "tree":
        return "tree"
    if value == "plain":
        return "plain"
    raise UserError(
        f"{VARIABLE}={value!r} is no engine",
        choices=ENGINES,
        next_step=did_you_mean(value, ENGINES),
    )


def uses_prefix_trees(session: Session) -> bool:
    """Whether the prefix tree runs this session: the base supports it and LUTHIER_ENGINE does not
    say "plain"."""
    return chosen_engine() == "tree" and supports_tree_masks(session)


def supports_tree_masks(session: Session) -> bool:
    """Whether the base is a decoder that takes explicit positions and masks in every layer: it has
    no recurrent or chunked layers, and no biases by distance in the row."""
    config = session.module.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if session.encoder_decoder or kinds - {"full_attention", "sliding_attention", "attention"}:
        return False
    if getattr(config, "alibi", False) or getattr(config, "attention_chunk_size", None):
        return False
    # GPT-Neo's local layers count places in the row; GPT takes masks over keys alone.
    if "local" in (getattr(config, "attention_layers", None) or ()):
        return False
    if config.model_type == "openai-gpt":
        return False
    return "position_ids" in inspect.signature(type(session.module).forward).parameters
