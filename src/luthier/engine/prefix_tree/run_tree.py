"""Running a plan: depth first, each node's keys and values kept while its subtree runs.

The packed rows of one node run in batches of like width. A batch that does not fit in memory is
halved, a packed row that does not fit is divided, and so on down to one continuation of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch

from luthier.engine.masks import attention_masks
from luthier.engine.memory import ModelShape, memory_cap, out_of_memory, run_in_halves
from luthier.engine.precision import autocast
from luthier.engine.prefix_tree.batch_layout import (
    PrefixSpan,
    RowLayout,
    packed_batch,
    row_layout,
)
from luthier.engine.prefix_tree.continuation_tree import continuation_tree
from luthier.engine.prefix_tree.planner import (
    PackedRow,
    PlanLimits,
    PrefixNode,
    Segment,
    plan_tree,
)
from luthier.engine.prefix_tree.read_scores import read_scores
from luthier.engine.prefix_tree.shared_attention import SplitAttention, splits_prefix
from luthier.engine.prefix_tree.shared_cache import KeyValues, SharedPrefixCache, key_values_of
from luthier.engine.request_rows import RowScores, TokenRow
from luthier.engine.session import Session

TOKENS_A_BATCH = 3072  # more is slower on a CPU: larger activations are mapped anew each time
TOKENS_A_BATCH_GPU = 65_536

# Says which adapter each row of the coming forward pass is under.
SelectAdapters = Callable[[Sequence[int]], None]


def score_rows(
    session: Session, rows: Sequence[TokenRow], select_adapters: SelectAdapters | None = None
) -> list[RowScores]:
    """The scores of distinct rows, in their order."""
    if not rows:
        return []
    run = TreeRun(session, rows, select_adapters)
    run.run_node(plan_tree(rows, run.limits), key_values_of(session.prefix_cache(1)))
    return [RowScores(run.logprobs[k], run.greedy[k], run.computed[k]) for k in range(len(rows))]


class TreeRun:
    """One call: what it may take, and what it has found so far."""

    def __init__(
        self, session: Session, rows: Sequence[TokenRow], select_adapters: SelectAdapters | None
    ) -> None:
        self.session = session
        self.select_adapters: SelectAdapters = select_adapters or (lambda adapters: None)
        self.shape = ModelShape.of(session)
        self.cap = memory_cap(session.device)
        self.limits = plan_limits(self.shape, self.cap, session.device)
        self.most_tokens = TOKENS_A_BATCH if session.device.type == "cpu" else TOKENS_A_BATCH_GPU
        self.logprobs = [[0.0] * len(r.continuations) for r in rows]
        self.greedy = [[True] * len(r.continuations) for r in rows]
        self.computed = [0] * len(rows)

    def run_node(self, node: PrefixNode, kept: KeyValues) -> None:
        """Everything on and below a node, `kept` being the keys and values of its tokens."""
        past = SharedPrefixCache(kept)
        waiting = sorted(node.packed_rows, key=lambda p: -p.width)
        while waiting:
            size = self._batch_size(waiting, past.length)
            run_in_halves(
                lambda rows: self._run_batch(rows, node.stop, past),
                waiting[:size],
                _halves,
                describe=lambda rows: f"A row of {rows[0].width} tokens after {past.length}",
            )
            waiting = waiting[size:]
        while node.children:
            child = node.children.pop()
            self.run_node(child, self._grown(child, kept))

    def _batch_size(self, packed_rows: Sequence[PackedRow], past: int) -> int:
        """How many of the widest packed rows make the next batch. Padding ends a batch that is
        large enough already."""
        width = packed_rows[0].width
        keep, real = 0, 0
        for n, packed_row in enumerate(packed_rows, 1):
            keep = max(keep, sum(len(s.tree.ids) for s in packed_row.segments))
            real += packed_row.width
            bytes_taken = n * self.shape.row_bytes(width, past, keep)
            wasteful = real > self.most_tokens // 4 and real < 0.85 * n * width
            if n > 1 and (n * width > self.most_tokens or bytes_taken > self.cap or wasteful):
                return n - 1
        return len(packed_rows)

    def _run_batch(
        self, packed_rows: Sequence[PackedRow], start: int, past: SharedPrefixCache
    ) -> None:
        layouts = [row_layout(p, start) for p in packed_rows]
        logits = self._forward(layouts, past, [p.adapter for p in packed_rows])
        values, best = read_scores(logits, layouts)
        at = 0
        for packed_row, layout in zip(packed_rows, layouts, strict=True):
            for segment, span in zip(packed_row.segments, layout.trees, strict=True):
                row = segment.row
                self.computed[row] += span.computed
                for k, targets in zip(segment.continuations, span.tree.targets, strict=True):
                    end = at + len(targets)
                    self.logprobs[row][k] = sum(values[at:end])
                    self.greedy[row][k] = all(best[at:end])
                    at = end

    def _forward(
        self, layouts: list[RowLayout], past: SharedPrefixCache, adapters: Sequence[int]
    ) -> torch.Tensor:
        """Logits (B, keep, V) of the rows' last places."""
        session, device = self.session, self.session.device
        batch = packed_batch(layouts, past.length, session.tokenizer.pad_token_id or 0)
        positions = keys = batch.positions.to(device)
        visible = batch.visible.to(device)
        reads_cache = past.length > 0 or past.record
        self.select_adapters([0])
        apart = splits_prefix(session, past)
        if apart:
            visible = visible[..., past.length :]
        else:
            before = torch.arange(past.length, device=device).expand(len(layouts), past.length)
            keys = torch.cat([before, positions], dim=1)
        # The beginning of everything is causal: without a mask half of it is never computed.
        masks = None
        if past.length or not past.record:
            masks = attention_masks(session, visible, positions, keys)
        # As an index, for the head would not multiply a slice in one product.
        last = torch.arange(batch.ids.shape[1] - batch.keep, batch.ids.shape[1], device=device)
        self.select_adapters(adapters)
        with (
            autocast(device, session.dtype),
            SplitAttention(past) if apart else nullcontext(),
        ):
            out = session.module(
                inputs_embeds=session.embed(batch.ids.to(device)),
                attention_mask=masks,
                position_ids=positions,
                past_key_values=past if reads_cache else None,
                use_cache=reads_cache,
                logits_to_keep=last,
            )
        logits: torch.Tensor = out.logits
        return logits

    def _grown(self, node: PrefixNode, kept: KeyValues) -> KeyValues:
        """The keys and values of a node, its own tokens in one stretch or, where memory is short,
        in several."""
        assert node.sample is not None
        self.computed[node.sample.row] += node.stop - node.start
        prefix, at, stretch = node.sample.prefix, node.start, node.stop - node.start
        while at < node.stop:
            ids = list(prefix[at : min(node.stop, at + stretch)])
            past = SharedPrefixCache(kept, record=True)
            if stretch > 16 and self.shape.row_bytes(len(ids), past.length, 1) > self.cap:
                stretch = (stretch + 1) // 2
                continue
            span = PrefixSpan(0, len(ids), ())
            layout = RowLayout(ids, list(range(len(ids))), [span], [], 1)
            try:
                self._forward([layout], past, [node.adapter])
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or stretch == 1:
                    raise
                stretch = (stretch + 1) // 2
                continue
            kept, at = past.grown, at + len(ids)
        return kept


def plan_limits(shape: ModelShape, cap: int, device: torch.device) -> PlanLimits:
    """What the planner should weigh on this machine. A quarter of the memory is for kept prefixes,
    and no row that the planner makes by choice is wider than the memory allows."""
    slow_calls = device.type != "cpu"  # an accelerator is idle between small calls
    packed_row, tree = (512 if slow_calls else 256), 512
    while packed_row > 1 and shape.row_bytes(packed_row, 0, packed_row) > cap:
        packed_row //= 2
    while tree > 2 and shape.row_bytes(tree, 0, tree) > cap:
        tree //= 2
    kept = max(1, cap // 4 // shape.key_value_bytes())
    return PlanLimits(call=2048 if slow_calls else 64, packed_row=packed_row, tree=tree, kept=kept)


def _halves(packed_rows: list[PackedRow]) -> list[list[PackedRow]] | None:
    """Two parts of a batch, of a row, or of one prefix's continuations; None where nothing can be
    divided."""
    if len(packed_rows) > 1:
        middle = len(packed_rows) // 2
        return [packed_rows[:middle], packed_rows[middle:]]
    segments = packed_rows[0].segments
    if len(segments) == 1:
        segment = segments[0]
        if len(segment.continuations) == 1:
            return None
        middle = len(segment.continuations) // 2
        segments = (
            _part(segment, 0, middle),
            _part(segment, middle, len(segment.continuations)),
        )
    middle = len(segments) // 2
    return [
        [
            replace(
                packed_rows[0],
                segments=part,
                width=sum(len(s.prefix) + len(s.tree.ids) for s in part),
            )
        ]
        for part in (segments[:middle], segments[middle:])
    ]


def _part(segment: Segment, lo: int, hi: int) -> Segment:
    tree = continuation_tree(segment.tree.targets[lo:hi], segment.prefix[-1])
    return replace(segment, tree=tree, continuations=segment.continuations[lo:hi])
