"""Running a plan: depth first, each node's keys and values kept while its subtree runs.

Packs of one node run in batches of like width. A batch that does not fit in memory is halved, a
packed row that does not fit is divided, and so on down to one continuation of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from luthier.engine.attention_masks import attention_masks
from luthier.engine.precision import autocast
from luthier.engine.prefix_tree.batch_layout import RowLayout, layout_row, tree_batch
from luthier.engine.prefix_tree.continuation_tree import continuation_tree
from luthier.engine.prefix_tree.memory import Shape, memory_cap, out_of_memory
from luthier.engine.prefix_tree.planner import Costs, Node, PackedRow, RowPart, plan_tree
from luthier.engine.prefix_tree.read_scores import read_scores
from luthier.engine.prefix_tree.shared_attention import SharedPrefix, shares_prefix
from luthier.engine.prefix_tree.shared_cache import Layers, SharedCache, layers_of
from luthier.engine.session import Session
from luthier.engine.token_rows import RowScores, TokenRow
from luthier.errors import BackendError

TOKENS_A_BATCH = 3072  # more is slower on a CPU: larger activations are mapped anew each time
TOKENS_A_BATCH_GPU = 65_536

# Says which adapter each row of the coming forward pass is under.
Under = Callable[[Sequence[int]], AbstractContextManager[Any]]


def score_rows(
    session: Session, rows: Sequence[TokenRow], under: Under | None = None
) -> list[RowScores]:
    """Scores of distinct rows, in their order."""
    if not rows:
        return []
    run = TreeRun(session, rows, under)
    run.node(plan_tree(rows, run.costs), run.first)
    return [RowScores(run.logprobs[k], run.greedy[k], run.computed[k]) for k in range(len(rows))]


class TreeRun:
    """One call: what it may take, and what it has found so far."""

    def __init__(self, session: Session, rows: Sequence[TokenRow], under: Under | None) -> None:
        self.session = session
        self.under: Under = under or (lambda adapters: nullcontext())
        self.shape = Shape.of(session)
        self.cap = memory_cap(session.device)
        self.costs = costs_of(self.shape, self.cap, session.device)
        self.first = layers_of(session.prefix_cache(1))
        self.most_tokens = TOKENS_A_BATCH if session.device.type == "cpu" else TOKENS_A_BATCH_GPU
        self.logprobs = [[0.0] * len(r.continuations) for r in rows]
        self.greedy = [[True] * len(r.continuations) for r in rows]
        self.computed = [0] * len(rows)

    def node(self, node: Node, kept: Layers) -> None:
        """Everything on and below a node whose tokens are kept already."""
        past = SharedCache(kept)
        waiting = sorted(node.packed_rows, key=lambda p: -p.width)
        while waiting:
            size = self._fitting(waiting, past.length)
            self._packs(waiting[:size], node.stop, past)
            waiting = waiting[size:]
        while node.children:
            child = node.children.pop()
            self.node(child, self._grown(child, kept))

    def _fitting(self, packed_rows: Sequence[PackedRow], past: int) -> int:
        """How many of the widest packed rows make the next batch. Padding ends a batch that is large
        enough already."""
        width = packed_rows[0].width
        keep, real = 0, 0
        for n, packed_row in enumerate(packed_rows, 1):
            keep = max(keep, sum(len(w.tree.ids) for w in packed_row.parts))
            real += packed_row.width
            bytes_taken = n * self.shape.row(width, past, keep)
            wasteful = real > self.most_tokens // 4 and real < 0.85 * n * width
            if n > 1 and (n * width > self.most_tokens or bytes_taken > self.cap or wasteful):
                return n - 1
        return len(packed_rows)

    def _packs(self, packed_rows: Sequence[PackedRow], start: int, past: SharedCache) -> None:
        try:
            self._batch(packed_rows, start, past)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            halves = _halves(packed_rows)
            if halves is None:
                raise BackendError(
                    f"A row of {packed_rows[0].width} tokens after {past.length} does not fit in memory",
                    next_step="Close other programs, or use a smaller base or shorter inputs.",
                ) from error
        else:
            return
        for half in halves:
            self._packs(half, start, past)

    def _batch(self, packed_rows: Sequence[PackedRow], start: int, past: SharedCache) -> None:
        layouts = [layout_row(p, start) for p in packed_rows]
        logits = self._forward(layouts, past, [p.adapter for p in packed_rows])
        values, best = read_scores(logits, layouts)
        at = 0
        for packed_row, row in zip(packed_rows, layouts, strict=True):
            for part, (_, tree, _, fresh) in zip(packed_row.parts, row.trees, strict=True):
                self.computed[part.row] += fresh
                for continuation, targets in zip(part.continuations, tree.targets, strict=True):
                    end = at + len(targets)
                    self.logprobs[part.row][continuation] = sum(values[at:end])
                    self.greedy[part.row][continuation] = all(best[at:end])
                    at = end

    def _forward(
        self, layouts: list[RowLayout], past: SharedCache, adapters: Sequence[int]
    ) -> torch.Tensor:
        session, device = self.session, self.session.device
        batch = tree_batch(layouts, past.length, session.tokenizer.pad_token_id or 0)
        positions = keys = batch.positions.to(device)
        visible = batch.visible.to(device)
        reads = past.length > 0 or past.record
        # The beginning of everything is causal: without a mask half of it is never computed.
        alone = past.record and not past.length
        with self.under([0]):
            apart = shares_prefix(session, past)
        if apart:
            visible = visible[..., past.length :]
        else:
            before = torch.arange(past.length, device=device).expand(len(layouts), past.length)
            keys = torch.cat([before, positions], dim=1)
        # As an index, for the head would not multiply a slice in one product.
        last = torch.arange(batch.ids.shape[1] - batch.keep, batch.ids.shape[1], device=device)
        with (
            self.under(adapters),
            autocast(device, session.dtype),
            SharedPrefix(past) if apart else nullcontext(),
        ):
            out = session.module(
                inputs_embeds=session.embed(batch.ids.to(device)),
                attention_mask=None
                if alone
                else attention_masks(session, visible, positions, keys),
                position_ids=positions,
                past_key_values=past if reads else None,
                use_cache=reads,
                logits_to_keep=last,
            )
        logits: torch.Tensor = out.logits
        return logits

    def _grown(self, node: Node, kept: Layers) -> Layers:
        """The keys and values of a node, its own tokens in one stretch or, where memory is short,
        in several."""
        assert node.sample is not None
        self.computed[node.sample.row] += node.stop - node.start
        prefix, at, stretch = node.sample.prefix, node.start, node.stop - node.start
        while at < node.stop:
            ids = list(prefix[at : min(node.stop, at + stretch)])
            past = SharedCache(kept, record=True)
            if stretch > 16 and self.shape.row(len(ids), past.length, 1) > self.cap:
                stretch = (stretch + 1) // 2
                continue
            stem = RowLayout(ids, list(range(len(ids))), [(0, len(ids), ())], [], 1)
            try:
                self._forward([stem], past, [node.adapter])
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or stretch == 1:
                    raise
                stretch = (stretch + 1) // 2
                continue
            kept, at = past.grown, at + len(ids)
        return kept


def costs_of(shape: Shape, cap: int, device: torch.device) -> Costs:
    """What the planner should weigh on this machine. A quarter of the memory is for kept prefixes,
    and no row that the planner makes by choice is wider than the memory allows."""
    slow_calls = device.type != "cpu"  # an accelerator is idle between small calls
    packed_row, tree = (512 if slow_calls else 256), 512
    while packed_row > 1 and shape.row(packed_row, 0, packed_row) > cap:
        packed_row //= 2
    while tree > 2 and shape.row(tree, 0, tree) > cap:
        tree //= 2
    kept = max(1, cap // 4 // shape.kept_token())
    return Costs(call=2048 if slow_calls else 64, packed_row=packed_row, tree=tree, kept=kept)


def _halves(packed_rows: Sequence[PackedRow]) -> tuple[list[PackedRow], list[PackedRow]] | None:
    """Two parts of a batch, of a row, or of one prefix's continuations; None where nothing can be
    divided."""
    if len(packed_rows) > 1:
        middle = len(packed_rows) // 2
        return list(packed_rows[:middle]), list(packed_rows[middle:])
    parts = packed_rows[0].parts
    if len(parts) == 1:
        part = parts[0]
        if len(part.continuations) == 1:
            return None
        middle = len(part.continuations) // 2
        parts = (_part(part, 0, middle), _part(part, middle, len(part.continuations)))
    middle = len(parts) // 2
    first, second = (
        replace(
            packed_rows[0], parts=part, width=sum(len(w.prefix) + len(w.tree.ids) for w in part)
        )
        for part in (parts[:middle], parts[middle:])
    )
    return [first], [second]


def _part(part: RowPart, lo: int, hi: int) -> RowPart:
    tree = continuation_tree(part.tree.targets[lo:hi], part.prefix[-1])
    return replace(part, tree=tree, continuations=part.continuations[lo:hi])
