"""What the reader is taught by: the answer, where to look for it, and not to forget its tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pretraining.reader import network
from pretraining.reader.batches import Batch

SHARP = 20.0  # length of what is written, where a token is to be told from all others


def answer_loss(model: Any, decoded: network.Decoded, batch: Batch) -> tuple[Tensor, Tensor]:
    """Σ w·CE over a row's answer tokens, divided by √Σ w so that long answers do not crowd out
    short ones; the mean over rows, and each row's own mean loss (B,)."""
    at = batch.weights.nonzero(as_tuple=True)
    scores = network.logits(model, decoded.states[at]).float()
    each = F.cross_entropy(scores, batch.wanted[at], reduction="none")
    weight = batch.weights[at]
    rows = torch.zeros(len(batch.weights), device=each.device)
    summed = rows.index_add(0, at[0], each * weight)
    total = batch.weights.sum(1)
    return (summed / total.sqrt()).mean() / 1.5, (summed / total).detach()


def pointing_loss(decoded: network.Decoded, batch: Batch, mask: Tensor | None) -> Tensor | None:
    """−log of the share of attention that the pointing heads give to where the token stands."""
    if not len(batch.places):
        return None
    row, token = batch.places.unbind(1)
    q = decoded.queries[row, :, token].float()
    k = decoded.keys[row].float()
    scores = torch.einsum("lhd,lhsd->lhs", q, k) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask[row, :, 0].float()
    every = scores.logsumexp(-1)
    right = scores.masked_fill(~batch.looks[:, None], -1e4).logsumexp(-1)
    return (every - right).mean()


def identity_loss(
    model: Any, states: Tensor, source: Tensor, telling: Tensor, count: int = 48
) -> tuple[Tensor, float]:
    """CE of the token that stands at some places of the prompt, from what the pointing heads would
    write if they looked there, and the share told right. MiniLM's last layer forgets its tokens;
    what is not kept cannot be copied. Only tokens that are ``telling`` (V,) are asked for."""
    real = telling[source].nonzero()
    if not len(real):
        return states.sum() * 0, 1.0
    stride = max(1, len(real) // count)
    at = real[int(source.sum()) % stride :: stride].unbind(1)
    layer = model.model.decoder.layers[-1].encoder_attn
    d = network.POINTERS * layer.head_dim
    value = F.linear(states[at], layer.v_proj.weight[:d], layer.v_proj.bias[:d])
    written = F.normalize(F.linear(value, layer.out_proj.weight[:, :d]).float(), dim=-1)
    table = model.model.shared.weight.detach()
    scores = F.linear((written * SHARP).to(table.dtype), table).float()
    hits = float((scores.detach().argmax(-1) == source[at]).float().mean())
    return F.cross_entropy(scores, source[at]), hits


def ridge(x: Tensor, y: Tensor, strength: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,) of the linear map from x (N, in) to y (N, out)."""
    shift, mean = x.mean(0), y.mean(0)
    gram = (x - shift).T @ (x - shift)
    gram += strength * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
    weight = torch.linalg.solve(gram, (x - shift).T @ (y - mean)).T
    return weight, mean - weight @ shift
