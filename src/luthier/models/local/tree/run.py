"""Running a plan: depth first, each node's keys and values kept while its subtree runs.

Packs of one node run in batches of like width. A batch that does not fit in memory is halved, a
pack that does not fit is divided, and so on down to one branch of one row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from luthier.errors import BackendError
from luthier.models.local.products import fast_products
from luthier.models.local.session import Session
from luthier.models.local.tree.attention import SharedPrefix, shares_prefix
from luthier.models.local.tree.feet import foot_of
from luthier.models.local.tree.layout import Laid, batch_of, lay
from luthier.models.local.tree.masks import masks
from luthier.models.local.tree.memory import Shape, memory_cap, out_of_memory
from luthier.models.local.tree.past import Layers, Past, past_of
from luthier.models.local.tree.plan import Costs, Node, Pack, Work, plan
from luthier.models.local.tree.read import read
from luthier.models.local.tree.rows import Row, RowScores

TOKENS_A_BATCH = 3072  # more is slower on a CPU: larger activations are mapped anew each time
TOKENS_A_BATCH_GPU = 65_536

# Says which adapter each row of the coming forward pass is under.
Under = Callable[[Sequence[int]], AbstractContextManager[Any]]


def score_rows(
    session: Session, rows: Sequence[Row], under: Under | None = None
) -> list[RowScores]:
    """Scores of distinct rows, in their order."""
    if not rows:
        return []
    run = Run(session, rows, under)
    run.node(plan(rows, run.costs), run.first)
    return [RowScores(run.logprobs[k], run.greedy[k], run.computed[k]) for k in range(len(rows))]


class Run:
    """One call: what it may take, and what it has found so far."""

    def __init__(self, session: Session, rows: Sequence[Row], under: Under | None) -> None:
        self.session = session
        self.under: Under = under or (lambda adapters: nullcontext())
        self.shape = Shape.of(session)
        self.cap = memory_cap(session.device)
        self.costs = costs_of(self.shape, self.cap, session.device)
        self.first = past_of(session.prefix_cache(1))
        self.most_tokens = TOKENS_A_BATCH if session.device.type == "cpu" else TOKENS_A_BATCH_GPU
        self.logprobs = [[0.0] * len(r.branches) for r in rows]
        self.greedy = [[True] * len(r.branches) for r in rows]
        self.computed = [0] * len(rows)

    def node(self, node: Node, kept: Layers) -> None:
        """Everything on and below a node whose tokens are kept already."""
        past = Past(kept)
        waiting = sorted(node.packs, key=lambda p: -p.width)
        while waiting:
            size = self._fitting(waiting, past.length)
            self._packs(waiting[:size], node.stop, past)
            waiting = waiting[size:]
        while node.children:
            child = node.children.pop()
            self.node(child, self._grown(child, kept))

    def _fitting(self, packs: Sequence[Pack], past: int) -> int:
        """How many of the widest packs make the next batch. Padding ends a batch that is large
        enough already."""
        width = packs[0].width
        keep, real = 0, 0
        for n, pack in enumerate(packs, 1):
            keep = max(keep, sum(len(w.foot.ids) for w in pack.works))
            real += pack.width
            bytes_taken = n * self.shape.row(width, past, keep)
            wasteful = real > self.most_tokens // 4 and real < 0.85 * n * width
            if n > 1 and (n * width > self.most_tokens or bytes_taken > self.cap or wasteful):
                return n - 1
        return len(packs)

    def _packs(self, packs: Sequence[Pack], start: int, past: Past) -> None:
        try:
            self._batch(packs, start, past)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            halves = _halves(packs)
            if halves is None:
                raise BackendError(
                    f"A row of {packs[0].width} tokens after {past.length} does not fit in memory",
                    next_step="Close other programs, or use a smaller base or shorter inputs.",
                ) from error
        else:
            return
        for half in halves:
            self._packs(half, start, past)

    def _batch(self, packs: Sequence[Pack], start: int, past: Past) -> None:
        laid = [lay(p, start) for p in packs]
        logits = self._forward(laid, past, [p.adapter for p in packs])
        values, best = read(logits, laid)
        at = 0
        for pack, row in zip(packs, laid, strict=True):
            for work, (_, foot, _, fresh) in zip(pack.works, row.feet, strict=True):
                self.computed[work.row] += fresh
                for branch, targets in zip(work.branches, foot.targets, strict=True):
                    end = at + len(targets)
                    self.logprobs[work.row][branch] = sum(values[at:end])
                    self.greedy[work.row][branch] = all(best[at:end])
                    at = end

    def _forward(self, laid: list[Laid], past: Past, adapters: Sequence[int]) -> torch.Tensor:
        session, device = self.session, self.session.device
        batch = batch_of(laid, past.length, session.tokenizer.pad_token_id or 0)
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
            before = torch.arange(past.length, device=device).expand(len(laid), past.length)
            keys = torch.cat([before, positions], dim=1)
        # As an index, for the head would not multiply a slice in one product.
        last = torch.arange(batch.ids.shape[1] - batch.keep, batch.ids.shape[1], device=device)
        with (
            self.under(adapters),
            fast_products(device, session.dtype),
            SharedPrefix(past) if apart else nullcontext(),
        ):
            out = session.module(
                inputs_embeds=session.embed(batch.ids.to(device)),
                attention_mask=None if alone else masks(session, visible, positions, keys),
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
        trunk, at, stretch = node.sample.trunk, node.start, node.stop - node.start
        while at < node.stop:
            ids = list(trunk[at : min(node.stop, at + stretch)])
            past = Past(kept, record=True)
            if stretch > 16 and self.shape.row(len(ids), past.length, 1) > self.cap:
                stretch = (stretch + 1) // 2
                continue
            stem = Laid(ids, list(range(len(ids))), [(0, len(ids), ())], [], 1)
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
    pack, foot = (512 if slow_calls else 256), 512
    while pack > 1 and shape.row(pack, 0, pack) > cap:
        pack //= 2
    while foot > 2 and shape.row(foot, 0, foot) > cap:
        foot //= 2
    kept = max(1, cap // 4 // shape.kept_token())
    return Costs(call=2048 if slow_calls else 64, pack=pack, foot=foot, kept=kept)


def _halves(packs: Sequence[Pack]) -> tuple[list[Pack], list[Pack]] | None:
    """Two parts of a batch, of a row, or of one trunk's branches; None where nothing can be
    divided."""
    if len(packs) > 1:
        middle = len(packs) // 2
        return list(packs[:middle]), list(packs[middle:])
    works = packs[0].works
    if len(works) == 1:
        work = works[0]
        if len(work.branches) == 1:
            return None
        middle = len(work.branches) // 2
        works = (_part(work, 0, middle), _part(work, middle, len(work.branches)))
    middle = len(works) // 2
    first, second = (
        replace(packs[0], works=part, width=sum(len(w.trunk) + len(w.foot.ids) for w in part))
        for part in (works[:middle], works[middle:])
    )
    return [first], [second]


def _part(work: Work, lo: int, hi: int) -> Work:
    foot = foot_of(work.foot.targets[lo:hi], work.trunk[-1])
    return replace(work, foot=foot, branches=work.branches[lo:hi])
