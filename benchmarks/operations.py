"""Floating-point operations that a job needs at least: every distinct token computed once.

Matrix products of the layers, attention over the tokens each one sees, and the output head at the
places that predict a token of the answer. Norms, softmax and look-ups are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.cases import Classification
from luthier.training.rows import TrainRow


def operations(config: Any, *, tokens: float, seen: float, predicting: float) -> float:
    """Of one forward pass. `seen`: for every token the tokens it attends to, itself among them,
    summed; `predicting`: places that the output head runs at."""
    heads, size, _ = _heads(config)
    return (
        2.0 * config.num_hidden_layers * _layer(config) * tokens
        + 4.0 * config.num_hidden_layers * heads * size * seen
        + 2.0 * config.hidden_size * config.vocab_size * predicting
    )


def _layer(config: Any) -> float:
    """Multiplications of one token by one layer's matrices."""
    width = config.hidden_size
    heads, size, pairs = _heads(config)
    gated = getattr(config, "intermediate_size", None)  # gate, up and down; OPT has no gate
    feed_forward = 3 * width * gated if gated else 2 * width * config.ffn_dim
    return float(width * size * (2 * heads + 2 * pairs) + feed_forward)


def _heads(config: Any) -> tuple[int, int, int]:
    """How many, how wide, and how many key heads."""
    heads: int = config.num_attention_heads
    size: int = getattr(config, "head_dim", None) or config.hidden_size // heads
    return heads, size, getattr(config, "num_key_value_heads", None) or heads


def scoring_operations(config: Any, case: Classification) -> float:
    """Of a labelling job whose inputs share a beginning."""
    tail = case.label_tokens - 1
    first = case.shared + case.input_tokens
    return operations(
        config,
        tokens=case.distinct_tokens,
        seen=_seen(0, case.shared)
        + case.inputs * _seen(case.shared, case.input_tokens)
        + case.inputs * case.labels * _seen(first, tail),
        predicting=case.inputs * (1 + case.labels * tail),
    )


def inputs_once(config: Any, rows: Iterable[TrainRow]) -> float:
    """Keys and values of each input: a forward pass that predicts nothing and whose last layer
    ends with them."""
    starts = [r.start for r in rows]
    tokens, seen = sum(starts), sum(_seen(0, n) for n in starts)
    whole = operations(config, tokens=tokens, seen=seen, predicting=0)
    return whole - _beyond_keys(config, tokens=tokens, seen=seen)


def _beyond_keys(config: Any, *, tokens: float, seen: float) -> float:
    """What one layer does with tokens once their keys and values stand. In the last layer only the
    places that predict something need it."""
    heads, size, pairs = _heads(config)
    matrices = _layer(config) - 2 * config.hidden_size * size * pairs
    return 2.0 * matrices * tokens + 4.0 * heads * size * seen


def after_inputs(config: Any, rows: Sequence[TrainRow], *, virtual: int) -> float:
    """One step of one soft prompt after the inputs, whose keys and values stand: forward, and
    backward through the activations of a frozen base."""
    own = [virtual + len(r.answer) - 1 for r in rows]
    seen = [_seen(r.start, n) for r, n in zip(rows, own, strict=True)]
    predicting = sum(len(r.answer) for r in rows)
    whole = operations(config, tokens=sum(own), seen=sum(seen), predicting=predicting)
    # The virtual tokens but the last predict nothing.
    idle = [virtual - 1] * len(rows)
    idle_seen = [_seen(r.start, virtual - 1) for r in rows]
    return 2 * (whole - _beyond_keys(config, tokens=sum(idle), seen=sum(idle_seen)))


def tuned_after(config: Any, steps: Sequence[Sequence[TrainRow]], *, virtual: int) -> float:
    """Training one soft prompt for these steps: every distinct input once, then `after_inputs`."""
    distinct = {tuple(r.prompt): r for batch in steps for r in batch}
    return inputs_once(config, distinct.values()) + sum(
        after_inputs(config, batch, virtual=virtual) for batch in steps
    )


def floor(operations: float, seconds: float, peak: float) -> dict[str, float]:
    """For the results file: what the distinct tokens need against the machine's measured peak."""
    return {
        "operations": operations,
        "peak_operations_a_second": peak,
        "share_of_peak": operations / seconds / peak,
    }


def whole_rows(config: Any, rows: Sequence[TrainRow], *, virtual: int, head: bool = False) -> float:
    """One step over rows in full, forward and backward. `head`: the output head runs at every
    place, as it does in a plain training loop, and not at the answers only."""
    lengths = [virtual + len(r.ids) - (0 if head else 1) for r in rows]
    return 2 * operations(
        config,
        tokens=sum(lengths),
        seen=sum(_seen(0, n) for n in lengths),
        predicting=sum(lengths) if head else sum(len(r.answer) for r in rows),
    )


def _seen(before: float, count: float) -> float:
    return count * before + count * (count + 1) / 2
