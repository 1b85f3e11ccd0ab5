"""Keys and values of inputs, computed once for all steps, dev evaluations and trials.

With the soft prompt after the input, the input's keys and values do not depend on it. What all
inputs begin with (an instruction, demonstrations) is cached once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from luthier.engine import Session, autocast
from luthier.training.prompt_tuning.past_key_values import CachedPast, Layers, PastKeyValues
from luthier.training.prompt_tuning.prefill import prefill

MOST_BYTES = 2 << 30
SHARED_AT_LEAST = 16
TOKENS_A_BATCH = 6144


class CachedInputs:
    """Caches inputs, a list of ids each, up to `most_bytes`.

    Where all of them would not fit in float32 they are kept in bfloat16; those that do not fit
    even so are computed anew whenever they are asked for. What is cached is a function of the
    order of the calls, so that a repeated fit charges the same tokens.
    """

    def __init__(
        self, session: Session, inputs: Sequence[list[int]], *, most_bytes: int | None = None
    ) -> None:
        self.session = session
        self.most_bytes = MOST_BYTES if most_bytes is None else most_bytes
        self.shared = common_prefix(inputs)
        self.total_tokens = sum(len(i) - len(self.shared) for i in {tuple(i) for i in inputs})
        self.cached: dict[tuple[int, ...], Layers] = {}
        self.cached_bytes = 0
        self._start: PastKeyValues | None = None

    def missing(self, inputs: Iterable[list[int]]) -> int:
        """Tokens that `take` would have to compute."""
        new = {tuple(i) for i in inputs} - set(self.cached)
        first = len(self.shared) if self._start is None else 0
        return first + sum(len(i) - len(self.shared) for i in new)

    @torch.no_grad()
    def take(self, inputs: Sequence[list[int]]) -> CachedPast:
        """The keys and values of inputs, one row each, computed where they are not cached."""
        keys = [tuple(i) for i in inputs]
        fresh = self._compute(sorted({k for k in keys if k not in self.cached}, key=len))
        rows = [self.cached[k] if k in self.cached else fresh[k] for k in keys]
        like = rows[0][0][0].dtype
        # What the module computes in: keys kept in bfloat16 to save room are widened again.
        dtype = self.session.dtype if like == torch.bfloat16 else like
        start = self._start.layers if self._start is not None else []
        return CachedPast(start, rows, torch.tensor([len(k) for k in keys]), dtype)

    def _compute(self, new: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Layers]:
        """Compute inputs in batches of like length and cache what fits; returns all of them."""
        session, start = self.session, len(self.shared)
        out: dict[tuple[int, ...], Layers] = {}
        with autocast(session.device, session.dtype):
            if self._start is None and start and new:
                self._start = prefill(session, [self.shared])
            at = 0
            while at < len(new):
                size = max(1, TOKENS_A_BATCH // len(new[min(at + 31, len(new) - 1)]))
                batch = new[at : at + min(size, 32)]
                past = prefill(session, [list(k[start:]) for k in batch], past=self._start)
                for r, key in enumerate(batch):
                    out[key] = [
                        (k[r, :, start : len(key)], v[r, :, start : len(key)])
                        for k, v in past.layers
                    ]
                    self._keep(key, out[key])
                at += len(batch)
        return out

    def _keep(self, key: tuple[int, ...], layers: Layers) -> None:
        each = sum(k.nbytes + v.nbytes for k, v in layers)
        tokens = max(1, len(key) - len(self.shared))
        half = layers[0][0].dtype == torch.float32 and (
            each / tokens * self.total_tokens > self.most_bytes
        )
        each = each // 2 if half else each
        if self.cached_bytes + each > self.most_bytes:
            return
        # Copies: slices would keep whole batches alive.
        dtype = torch.bfloat16 if half else layers[0][0].dtype
        self.cached[key] = [(k.to(dtype, copy=True), v.to(dtype, copy=True)) for k, v in layers]
        self.cached_bytes += each


def common_prefix(inputs: Sequence[Sequence[int]]) -> list[int]:
    """What all inputs begin with, at least one token of each left over; empty where that is
    little."""
    if len(inputs) < 2:
        return []
    first, shortest = inputs[0], min(len(i) for i in inputs)
    shared = 0
    while shared < shortest - 1 and all(i[shared] == first[shared] for i in inputs):
        shared += 1
    return list(first[:shared]) if shared >= SHARED_AT_LEAST else []
