"""Rows of tokens that follow what is kept in a prefix store, run in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from luthier.engine.continuous.prefix_store import StoredPrefix
from luthier.engine.masks import attention_masks
from luthier.engine.precision import autocast
from luthier.engine.prefix_tree.batch_layout import RowLayout, TreeSpan, tree_mask
from luthier.engine.prefix_tree.continuation_tree import ContinuationTree
from luthier.engine.prefix_tree.shared_cache import KeyValues
from luthier.engine.session import Session


@dataclass(slots=True, eq=False)
class FollowingRow:
    """Tokens after a node of the store, under the LoRA adapter `adapter`.

    `tree`: the continuations that are scored after them. The tree's first token is the last of
    `ids`, and the rest of it is packed behind.
    """

    node: StoredPrefix
    ids: tuple[int, ...]
    adapter: int
    tree: ContinuationTree | None = None

    @property
    def packed(self) -> list[int]:
        """All tokens that are run."""
        return [*self.ids, *(self.tree.ids[1:] if self.tree else ())]

    @property
    def layout(self) -> RowLayout:
        """Where its tokens stand: `depths` count from its first one, and the tree's predictions
        are read at the right edge."""
        count = len(self.ids)
        depths = list(range(count))
        if self.tree is None:
            return RowLayout(self.packed, depths, [], [], 1)
        depths += [count - 1 + depth for depth in self.tree.depths[1:]]
        span = TreeSpan(count - 1, self.tree, (), count - 1 + len(self.tree.ids))
        return RowLayout(self.packed, depths, [], [span], len(self.tree.ids))


@dataclass(frozen=True, slots=True, eq=False)
class RowOutputs:
    """`logits` (B, keep, V) of the last places, and `values`, the keys and values of all tokens
    that were run, (B, heads, W, width) of each layer, each row's at the right edge; they are kept
    as `dtype`."""

    logits: torch.Tensor
    values: KeyValues
    layouts: Sequence[RowLayout]
    dtype: torch.dtype

    def of_row(self, row: int, tokens: int) -> KeyValues:
        """The keys and values of the first tokens of a row."""
        start = max(len(one.ids) for one in self.layouts) - len(self.layouts[row].ids)
        own = (slice(row, row + 1), slice(None), slice(start, start + tokens))
        return {
            k: (a[own].to(self.dtype, copy=True), b[own].to(self.dtype, copy=True))
            for k, (a, b) in self.values.items()
        }


class RowsCache(DynamicCache):  # type: ignore[misc]
    """Keys and values that stand before the rows, (B, heads, P, width), padded on the right;
    `new` collects those of the rows."""

    def __init__(self, before: KeyValues, length: int) -> None:
        super().__init__()
        self.before, self.length, self.new = before, length, KeyValues()

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """What the model asks to know its positions."""
        return self.length

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int,
        *_: Any, **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Old and new keys and values of one layer."""
        self.new[layer_idx] = key_states, value_states
        if not self.length:
            return key_states, value_states
        keys, values = self.before[layer_idx]
        rows = (len(key_states), -1, -1, -1)
        return (
            torch.cat([keys.expand(rows), key_states], dim=2),
            torch.cat([values.expand(rows), value_states], dim=2),
        )


def run_rows(session: Session, rows: Sequence[FollowingRow], *, mixed: bool) -> RowOutputs:
    """Run rows at the right edge of a batch, padded on the left, so that the language-model head
    sees no more than the trees, or the last token of each row where there are none.

    `mixed`: matrix products run in the format decided on (`engine.precision`).
    """
    device = session.device
    paths = [row.node.path() for row in rows]
    pasts = [sum(node.tokens for node in path) for path in paths]
    before, length = values_before(paths, pasts)
    layouts = [row.layout for row in rows]
    width, keep = max(len(one.ids) for one in layouts), max(one.keep for one in layouts)
    ids, offsets, visible = _padded(layouts, width, session.tokenizer.pad_token_id or 0)
    starts = torch.tensor(pasts, device=device).unsqueeze(1)
    positions = starts + offsets.to(device)
    keys = torch.arange(length, device=device).expand(len(rows), length)
    there = (keys < starts).unsqueeze(1).expand(-1, width, -1)
    seen = torch.cat([there, visible.to(device)], dim=2)
    masks = attention_masks(session, seen, positions, torch.cat([keys, positions], dim=1))
    cache = RowsCache(before, length)
    limit = session.context_length
    with autocast(device, session.dtype) if mixed else nullcontext():
        out = session.module(
            inputs_embeds=session.embed(ids.to(device)),
            attention_mask=masks,
            position_ids=positions if limit is None else positions.clamp(max=limit - 1),
            past_key_values=cache,
            use_cache=True,
            # As an index, for the head would not multiply a slice in one product.
            logits_to_keep=torch.arange(width - keep, width, device=device),
        )
    return RowOutputs(out.logits, cache.new, layouts, session.dtype)


def values_before(
    paths: Sequence[Sequence[StoredPrefix]], pasts: Sequence[int]
) -> tuple[KeyValues, int]:
    """The keys and values of paths side by side, padded on the right, and how long they are; of
    batch 1 where all rows follow one node."""
    length = max(pasts)
    if not length:
        return {}, 0
    alike = all(path[-1] is paths[0][-1] for path in paths)
    chosen = paths[:1] if alike else paths
    found: KeyValues = {}
    layers = next(node.values for path in chosen for node in path if node.values)
    for layer in layers:
        sides = []
        for side in (0, 1):
            like = layers[layer][side]
            _, heads, _, width = like.shape
            block = like.new_zeros(len(chosen), heads, length, width)
            for b, path in enumerate(chosen):
                at = 0
                for node in path:
                    if node.values:
                        block[b, :, at : at + node.tokens] = node.values[layer][side][0]
                        at += node.tokens
            sides.append(block)
        found[layer] = sides[0], sides[1]
    return found, length


def _padded(
    layouts: Sequence[RowLayout], width: int, pad: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids (B, W), how far each token stands behind the first one of its row (B, W), and which
    tokens of its row each attends to (B, W, W): those before it, in the tree those on its
    branch. Padding sees padding alone."""
    size = len(layouts)
    ids = torch.full((size, width), pad, dtype=torch.long)
    offsets = torch.zeros((size, width), dtype=torch.long)
    visible = torch.ones(width, width, dtype=torch.bool).tril().repeat(size, 1, 1)
    for b, row in enumerate(layouts):
        at = width - len(row.ids)
        ids[b, at:] = torch.tensor(row.ids, dtype=torch.long)
        offsets[b, at:] = torch.tensor(row.depths, dtype=torch.long)
        visible[b, at:, :at] = False
        for start, tree, _, _ in row.trees:
            visible[b, at + start :, at + start :] = tree_mask(tree)
    return ids, offsets, visible
