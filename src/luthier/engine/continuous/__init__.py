"""Requests that come one by one, for many adaptations of one base, in shared batches.

`shared_adapters` lets prompts, soft prompts, prefixes and LoRA stand in one batch, `prefix_store`
keeps the keys and values of what was read (each distinct token is computed once, over time too),
`row_forward` runs rows that follow what is kept, `decode_slots` holds the answers that are being
generated, and `continuous_engine` puts them together.
"""

from luthier.engine.continuous.continuous_engine import ContinuousEngine, LiveAnswer

__all__ = ["ContinuousEngine", "LiveAnswer"]
