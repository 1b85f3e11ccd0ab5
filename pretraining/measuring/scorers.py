"""The scorer for a model folder, by what its configuration says it is."""

from __future__ import annotations

import json
from pathlib import Path

from pretraining.measuring.causal import CausalScorer
from pretraining.measuring.encoded import EncodedScorer

Scorer = CausalScorer | EncodedScorer


def open_scorer(folder: Path) -> Scorer:
    """A scorer for the causal model or the encoder–decoder in ``folder``."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return EncodedScorer(folder) if config.get("is_encoder_decoder") else CausalScorer(folder)
