"""The network: MiniLM's encoder in BART's form, a decoder begun from its upper layers.

BART's encoder (Lewis et al. 2020, arXiv:1910.13461) has BERT's sublayers: learned positions, a
normalisation of the embeddings and one after each sublayer, GELU. So MiniLM's six layers are copied
as they are, its token-type row is folded into the positions, and the states agree. The decoder's
layers begin with the weights of the encoder's last ones (Rothe, Narayan and Severyn 2020, section
3), and so does its attention to the encoder, which has everything to learn. Notation: B rows, S
source tokens, U answer tokens, H width, V vocabulary. The forward here computes what
``BartForConditionalGeneration`` does (``export.reload_matches`` compares them), fuses products and
hands out what the losses need.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertModel,
    PreTrainedTokenizerFast,
)

from pretraining.reader import vocabulary

OFFSET = 2  # BART's first two positions are unused
POSITIONS = 1024
DECODER_LAYERS = 2
POINTERS = 4  # heads of the last layer's attention to the source that are shown where to look
COPY_GAIN = 1.5  # what they write at first, in lengths of a row
CAPITAL = 0.25  # length of the direction that tells a capitalised word's row from its lower form


def configuration(tokenizer: PreTrainedTokenizerFast, layers: int = DECODER_LAYERS) -> BartConfig:
    """MiniLM's shape under BART's names, tied embeddings."""
    return BartConfig(
        vocab_size=len(tokenizer),
        d_model=384,
        encoder_layers=6,
        decoder_layers=layers,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        max_position_embeddings=POSITIONS,
        activation_function="gelu",
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        scale_embedding=False,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )


@torch.no_grad()
def create(
    tokenizer: PreTrainedTokenizerFast,
    encoder: Path,
    seed: int,
    *,
    layers: int = DECODER_LAYERS,
    capital: float = CAPITAL,
) -> BartForConditionalGeneration:
    """A model that begins as the BERT folder ``encoder``, of MiniLM's shape."""
    torch.manual_seed(seed)
    model = BartForConditionalGeneration(configuration(tokenizer, layers))
    bert = BertModel.from_pretrained(encoder, dtype=torch.float32).eval()
    table = bert.embeddings
    pieces = AutoTokenizer.from_pretrained(encoder)
    model.model.shared.weight.copy_(word_rows(tokenizer, bert, pieces, capital))
    places = far_positions(
        table.position_embeddings.weight + table.token_type_embeddings.weight[0], POSITIONS
    )
    for part in (model.model.encoder, model.model.decoder):
        part.embed_positions.weight[OFFSET:] = places
        part.embed_positions.weight[:OFFSET] = places[0]
        part.layernorm_embedding.load_state_dict(table.LayerNorm.state_dict())
    for ours, theirs in zip(model.model.encoder.layers, bert.encoder.layer, strict=True):
        _copy(ours, theirs)
    upper = bert.encoder.layer[len(bert.encoder.layer) - layers :]
    for ours, theirs in zip(model.model.decoder.layers, upper, strict=True):
        _copy(ours, theirs)
        _copy_attention(ours.encoder_attn, theirs.attention)
        norm = theirs.attention.output.LayerNorm
        ours.encoder_attn_layer_norm.load_state_dict(norm.state_dict())
    model.tie_weights()
    return model


def opened(folder: Path, tokenizer: PreTrainedTokenizerFast) -> BartForConditionalGeneration:
    """The model of ``folder`` in float32, if it was trained over the pieces of ``tokenizer``."""
    if AutoTokenizer.from_pretrained(folder).get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"{folder} has another vocabulary than the pools' folder")
    return BartForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def _copy(ours: Any, theirs: Any) -> None:
    """A BERT layer's weights into the same sublayers of BART's."""
    _copy_attention(ours.self_attn, theirs.attention)
    for to, source in (
        (ours.self_attn_layer_norm, theirs.attention.output.LayerNorm),
        (ours.fc1, theirs.intermediate.dense),
        (ours.fc2, theirs.output.dense),
        (ours.final_layer_norm, theirs.output.LayerNorm),
    ):
        to.load_state_dict(source.state_dict())


def _copy_attention(ours: Any, theirs: Any) -> None:
    for to, source in (
        (ours.q_proj, theirs.self.query),
        (ours.k_proj, theirs.self.key),
        (ours.v_proj, theirs.self.value),
        (ours.out_proj, theirs.output.dense),
    ):
        to.load_state_dict(source.state_dict())


def word_rows(
    tokenizer: PreTrainedTokenizerFast,
    bert: BertModel,
    pieces: PreTrainedTokenizerFast,
    capital: float,
) -> Tensor:
    """The encoder's row of each piece, (V, H): that of its lower-case form, plus one small
    direction for a capital and another for capitals throughout."""
    known = pieces.get_vocab()
    table = bert.embeddings.word_embeddings.weight
    title, upper = capital * F.normalize(torch.randn(2, table.shape[1]), dim=-1)
    out = torch.zeros(len(tokenizer), table.shape[1])
    for i, piece in enumerate(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))):
        row = vocabulary.source_pieces(piece, known)
        bare = piece.removeprefix(vocabulary.SPACE)
        if row is None:
            out[i] = table[known["[UNK]"]] + 0.1 * torch.randn(table.shape[1]) * table.std()
        else:
            out[i] = table[row]
        if bare[:1].isupper():
            out[i] += upper if len(bare) > 1 and bare.isupper() else title
    return out


def far_positions(places: Tensor, count: int, alpha: float = 0.4) -> Tensor:
    """Positions beyond the encoder's 512: row n·i + j is α u_i + (1 − α) u_j with
    u = (p − α p_0) / (1 − α), which leaves the first n as they are (Su 2020)."""
    n = len(places)
    base = (places - alpha * places[:1]) / (1 - alpha)
    index = torch.arange(count)
    return alpha * base[index // n] + (1 - alpha) * base[index % n]


@torch.no_grad()
def copy_heads(model: nn.Module, states: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Let the pointing heads copy: ``weight`` (H, H) and ``bias`` (H,) tell a token's row from its
    state after the encoder; the values hold its leading components over ``states`` (N, H)."""
    attention = model.model.decoder.layers[-1].encoder_attn  # type: ignore[attr-defined]
    d = POINTERS * attention.head_dim
    _, _, v = torch.pca_lowrank(states @ weight.T + bias, d, center=True)
    attention.v_proj.weight[:d] = v.T @ weight
    attention.v_proj.bias[:d] = v.T @ bias
    attention.out_proj.weight[:, :d] = COPY_GAIN * v


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention over (B, heads, ·, head width) by plain products, ``mask`` (B or 1, 1, ·, S) added:
    on a CPU the fused kernel's backward pass takes longer while rows are short."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    return scores.softmax(-1) @ v


def _heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    b, t, _ = x.shape
    return x.view(b, t, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def _fused(h: Tensor, *layers: Any) -> Tensor:
    return F.linear(h, torch.cat([m.weight for m in layers]), torch.cat([m.bias for m in layers]))


def _feed(layer: Any, h: Tensor) -> Tensor:
    out: Tensor = layer.final_layer_norm(h + layer.fc2(F.gelu(layer.fc1(h))))
    return out


def _embed(model: Any, part: Any, tokens: Tensor, first: Tensor | None = None) -> Tensor:
    places = torch.arange(OFFSET, OFFSET + tokens.shape[1], device=tokens.device)[None]
    if first is not None:
        places = places + first[:, None]
    h = F.embedding(tokens, model.model.shared.weight)
    out: Tensor = part.layernorm_embedding(h + F.embedding(places, part.embed_positions.weight))
    return out


def encode(
    model: Any, tokens: Tensor, first: Tensor | None = None, below: int = 0
) -> tuple[Tensor, Tensor | None]:
    """States (B, S, H) after the last layer, and the mask that hides padding. ``first`` (B,) is
    each row's first position; no gradient passes ``below`` layers."""
    hidden = tokens == model.config.pad_token_id
    mask = None
    if bool(hidden.any()):
        mask = torch.zeros(tokens.shape, device=tokens.device).masked_fill(hidden, -1e4)
        mask = mask[:, None, None]
    part, heads = model.model.encoder, model.config.encoder_attention_heads
    grad = torch.is_grad_enabled()
    with torch.set_grad_enabled(grad and not below):
        h = _embed(model, part, tokens, first)
    for i, layer in enumerate(part.layers):
        with torch.set_grad_enabled(grad and i >= below):
            at = layer.self_attn
            q, k, v = _heads(_fused(h, at.q_proj, at.k_proj, at.v_proj), 3, heads)
            a = attend(q, k, v, mask).transpose(1, 2).flatten(2)
            h = layer.self_attn_layer_norm(h + at.out_proj(a))
            h = _feed(layer, h)
    return h, mask


@dataclass(frozen=True)
class Decoded:
    """Last states (B, U, H) and the pointing heads' queries (B, P, U, D) and keys (B, P, S, D)."""

    states: Tensor
    queries: Tensor
    keys: Tensor


def decode(model: Any, tokens: Tensor, source: Tensor, mask: Tensor | None) -> Decoded:
    """The decoder over ``tokens`` (B, U), which begin with the start token."""
    part, heads = model.model.decoder, model.config.decoder_attention_heads
    u = tokens.shape[1]
    causal = torch.full((u, u), -1e4, device=tokens.device).triu(1)[None, None]
    h = _embed(model, part, tokens)
    queries = keys = h
    for layer in part.layers:
        at = layer.self_attn
        q, k, v = _heads(_fused(h, at.q_proj, at.k_proj, at.v_proj), 3, heads)
        a = attend(q, k, v, causal).transpose(1, 2).flatten(2)
        h = layer.self_attn_layer_norm(h + at.out_proj(a))
        at = layer.encoder_attn
        (q,) = _heads(at.q_proj(h), 1, heads)
        k, v = _heads(_fused(source, at.k_proj, at.v_proj), 2, heads)
        queries, keys = q[:, :POINTERS], k[:, :POINTERS]
        a = attend(q, k, v, mask).transpose(1, 2).flatten(2)
        h = layer.encoder_attn_layer_norm(h + at.out_proj(a))
        h = _feed(layer, h)
    return Decoded(h, queries, keys)


def logits(model: Any, states: Tensor) -> Tensor:
    """Scores of the whole vocabulary (…, V) for decoder states (…, H)."""
    return F.linear(states, model.model.shared.weight, model.final_logits_bias[0].to(states.dtype))
