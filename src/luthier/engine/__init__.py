"""How a base is run, fast: any Hugging Face causal or encoder–decoder model on this machine.

Other rooms import from this module only. What they need:

- `LocalBackend`: the backend that runs local weights.
- `Session`: a base with one adaptation applied, which is what `Backend.session` gives.
- `shortened`, `truncated`: a prompt that is too long for the context, as it fits.
- `score_continuations`: scoring inside an open session, with `token_rows` for its ids.
- `uses_prefix_trees`, `attention_masks`, `sliding_window`, `supports_split_attention`: what a
  forward pass over several prefixes at once needs.
- `autocast`, `Float32Attention`, `matmul_precision`: the number format of matrix products.
- `ContinuousEngine`, `LiveAnswer`: requests that come one by one, for many adaptations at once.
- `generate`: text inside an open session, from weights that are being trained.
- `injected`: an adapter put beside a base's weights, for a while.
"""

from luthier.engine.adapters.injected import injected
from luthier.engine.continuation_scoring import score_continuations
from luthier.engine.continuous import ContinuousEngine, LiveAnswer
from luthier.engine.engine_choice import uses_prefix_trees
from luthier.engine.generation.generate import generate
from luthier.engine.local_backend import LocalBackend
from luthier.engine.masks import attention_masks, sliding_window
from luthier.engine.precision import Float32Attention, autocast, matmul_precision
from luthier.engine.prefix_tree.shared_attention import supports_split_attention
from luthier.engine.request_rows import token_rows, truncated
from luthier.engine.session import Session
from luthier.engine.shortening import shortened

__all__ = [
    "ContinuousEngine",
    "Float32Attention",
    "LiveAnswer",
    "LocalBackend",
    "Session",
    "attention_masks",
    "autocast",
    "generate",
    "injected",
    "matmul_precision",
    "score_continuations",
    "shortened",
    "sliding_window",
    "supports_split_attention",
    "token_rows",
    "truncated",
    "uses_prefix_trees",
]
