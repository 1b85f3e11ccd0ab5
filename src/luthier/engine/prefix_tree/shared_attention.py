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

from luthier.engine.attention_masks import attention_masks, sliding_window
from luthier.engine.precision import Float32Attention
from luthier.engine.prefix_tree.shared_cache import SharedCache
from luthier.engine.session import Session

WORTH_IT = 32  # tokens; a shorter prefix is copied
TRIED = 4  # tokens after as many, in `supports_split_attention`: fewer together than any window of a sliding layer

# Gives the log of the sum of exponentials too, which `scaled_dot_product_attention` does not.
_part = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def shares_prefix(session: Session, past: SharedCache) -> bool:
    """Whether this base's attention can be taken apart: on a CPU, through torch's own function,
    every layer over all tokens."""
    config = session.module.config.get_text_config()
    return (
        past.length >= WORTH_IT
        and not past.record
        and not sliding_window(config)
        and session.device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and supports_split_attention(session)
    )


_splits: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def supports_split_attention(session: Session) -> bool:
    """Whether the attention of this base is what `SharedPrefix` takes it for, found out by trying
    once: some bases keep other keys than they attend to, spread them over the heads in another
    order, or put more into the scores than the mask."""
    module = session.module
    if module not in _splits:
        try:
            with torch.no_grad(), torch.autocast(session.device.type, enabled=False):
                joint, apart = _tried(session)
        except RuntimeError:  # shapes do not even fit
            _splits[module] = False
        else:
            close = (0.01 if session.dtype == torch.float32 else 0.1) * float(joint.std())
            _splits[module] = float((joint - apart).abs().max()) < close
    return _splits[module]


def _tried(session: Session) -> list[torch.Tensor]:
    """Logits (1, TRIED, V) of a few tokens after a few kept ones, joined and apart."""
    places = torch.arange(2 * TRIED, device=session.device).unsqueeze(0)
    embeds = session.embed(places % session.vocabulary)
    stem = SharedCache({}, record=True)
    session.module(inputs_embeds=embeds[:, :TRIED], past_key_values=stem, use_cache=True)
    past, own = SharedCache(stem.grown), places[:, TRIED:]
    found = []
    for keys, context in ((places, nullcontext()), (own, SharedPrefix(past))):
        seen = keys.unsqueeze(1) <= own.unsqueeze(2)
        with context:
            out = session.module(
                inputs_embeds=embeds[:, TRIED:],
                attention_mask=attention_masks(session, seen, own, keys),
                position_ids=own,
                past_key_values=past,
                use_cache=True,
            )
        found.append(out.logits.float())
    return found


class SharedPrefix(Float32Attention):
    """Inside it a layer's attention sees `past.kept` before the keys and values it is given. The
    mask is that of the row's own tokens; all of them see the whole prefix."""

    def __init__(self, past: SharedCache) -> None:
        super().__init__()
        self.past = past

    def __enter__(self) -> SharedPrefix:
        self.past.apart = True
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *reason: Any) -> None:
        self.past.apart = False
        super().__exit__(*reason)  # type: ignore[no-untyped-call]

    def attend(self, given: dict[str, Any]) -> torch.Tensor:
        """Over the prefix and over the row's own tokens."""
        keys, values = (t.float() for t in self.past.kept[self.past.layer])
        query, key, value, mask = (given[n] for n in _INPUTS)
        return _joined(query, key, value, mask, keys, values, given.get("scale"))


_INPUTS = ("query", "key", "value", "attn_mask")


def _joined(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor,
    kept_keys: torch.Tensor, kept_values: torch.Tensor, scale: float | None,
) -> torch.Tensor:  # fmt: skip
    """(B, heads, W, D) queries over the prefix (1, key heads, P, D) and over their own keys."""
    rows, heads, width, size = query.shape
    few = kept_keys.shape[1]
    many = heads // few
    long = query.reshape(rows, few, many, width, size).permute(1, 2, 0, 3, 4)
    above, sums = _part(long.reshape(1, few, -1, size), kept_keys, kept_values, scale=scale)
    above = above.reshape(few, many, rows, width, size).permute(2, 0, 1, 3, 4)
    sums = sums.reshape(few, many, rows, width).permute(2, 0, 1, 3)
    if key.shape[1] != heads:
        key, value = (t.repeat_interleave(many, 1) for t in (key, value))
    own, own_sums = _part(query, key, value, attn_mask=mask, scale=scale)
    share = torch.sigmoid(sums.reshape(rows, heads, width) - own_sums)
    return torch.lerp(own, above.reshape(rows, heads, width, size), share.unsqueeze(-1))
