"""Attention of many rows to one shared prefix, without a copy of it for every row.

Softmax over [prefix, own] is a mean of the softmaxes over both parts, weighed by their sums:
with o and l the output and the log of the sum of exponentials of each part,
o = σ(l_prefix − l_own) o_prefix + σ(l_own − l_prefix) o_own (as in cascade inference and in
Juravsky et al. 2024, arXiv:2402.05099, section 3.1). All queries of all rows stand in one long row
against the prefix; those of heads that share a key head do too, so that nothing is widened.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch

from luthier.engine.masks import attention_masks, sliding_window
from luthier.engine.precision import Float32Attention
from luthier.engine.prefix_tree.shared_cache import SharedPrefixCache
from luthier.engine.session import Session

WORTH_IT = 32  # tokens; a shorter prefix is copied
# `supports_split_attention` runs so many tokens after as many kept ones: fewer together than any
# window of a sliding layer.
TRIAL_TOKENS = 4

# It also returns the log of the sum of exponentials, as `scaled_dot_product_attention` does not.
_attention_part = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def splits_prefix(session: Session, past: SharedPrefixCache) -> bool:
    """Whether to read this prefix apart from the rows' own tokens: on a CPU, through torch's own
    attention function, where every layer sees all tokens."""
    config = session.module.config.get_text_config()
    return (
        past.length >= WORTH_IT
        and not past.record
        and not sliding_window(config)
        and session.device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and supports_split_attention(session)
    )


_supported: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def supports_split_attention(session: Session) -> bool:
    """Whether the attention of this base may be computed in parts, found out by trying once.

    Some bases keep other keys than they attend to, spread them over the heads in another order, or
    put more into the scores than the mask.
    """
    module = session.module
    if module not in _supported:
        try:
            with torch.no_grad(), torch.autocast(session.device.type, enabled=False):
                joint, apart = _trial_logits(session)
        except RuntimeError:  # not even the shapes fit
            _supported[module] = False
        else:
            close = (0.01 if session.dtype == torch.float32 else 0.1) * float(joint.std())
            _supported[module] = float((joint - apart).abs().max()) < close
    return _supported[module]


def _trial_logits(session: Session) -> list[torch.Tensor]:
    """Logits (1, TRIAL_TOKENS, V) of a few tokens after a few kept ones, joined and apart."""
    places = torch.arange(2 * TRIAL_TOKENS, device=session.device).unsqueeze(0)
    embeds = session.embed(places % session.vocabulary)
    prefix = SharedPrefixCache({}, record=True)
    session.module(inputs_embeds=embeds[:, :TRIAL_TOKENS], past_key_values=prefix, use_cache=True)
    past, own = SharedPrefixCache(prefix.grown), places[:, TRIAL_TOKENS:]
    found = []
    for keys, context in ((places, nullcontext()), (own, SplitAttention(past))):
        seen = keys.unsqueeze(1) <= own.unsqueeze(2)
        with context:
            out = session.module(
                inputs_embeds=embeds[:, TRIAL_TOKENS:],
                attention_mask=attention_masks(session, seen, own, keys),
                position_ids=own,
                past_key_values=past,
                use_cache=True,
            )
        found.append(out.logits.float())
    return found


class SplitAttention(Float32Attention):
    """Inside it the attention of a layer sees `past.kept` before the keys and values it is given.

    The mask is that of the row's own tokens; all of them see the whole prefix.
    """

    def __init__(self, past: SharedPrefixCache) -> None:
        super().__init__()
        self.past = past

    def __enter__(self) -> SplitAttention:
        self.past.apart = True
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *reason: Any) -> None:
        self.past.apart = False
        super().__exit__(*reason)  # type: ignore[no-untyped-call]

    def attend(self, inputs: dict[str, Any]) -> torch.Tensor:
        """The attention over the prefix and over the row's own tokens."""
        keys, values = (t.float() for t in self.past.kept[self.past.layer])
        query, key, value, mask = (inputs[n] for n in ("query", "key", "value", "attn_mask"))
        return _joined(query, key, value, mask, keys, values, inputs.get("scale"))


def _joined(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor,
    prefix_keys: torch.Tensor, prefix_values: torch.Tensor, scale: float | None,
) -> torch.Tensor:  # fmt: skip
    """(B, heads, W, D) queries over the prefix (1, key heads, P, D) and over their own keys."""
    rows, heads, width, size = query.shape
    key_heads = prefix_keys.shape[1]
    shared_by = heads // key_heads
    long = query.reshape(rows, key_heads, shared_by, width, size).permute(1, 2, 0, 3, 4)
    above, sums = _attention_part(
        long.reshape(1, key_heads, -1, size), prefix_keys, prefix_values, scale=scale
    )
    above = above.reshape(key_heads, shared_by, rows, width, size).permute(2, 0, 1, 3, 4)
    sums = sums.reshape(key_heads, shared_by, rows, width).permute(2, 0, 1, 3)
    if key.shape[1] != heads:
        key, value = (t.repeat_interleave(shared_by, 1) for t in (key, value))
    own, own_sums = _attention_part(query, key, value, attn_mask=mask, scale=scale)
    share = torch.sigmoid(sums.reshape(rows, heads, width) - own_sums)
    return torch.lerp(own, above.reshape(rows, heads, width, size), share.unsqueeze(-1))
