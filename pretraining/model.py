"""The network: an OPT decoder that begins with MiniLM's weights, and a leaner training forward.

all-MiniLM-L6-v2 (Wang et al. 2020; sentence-transformers) is a BERT encoder: six layers, width 384,
normalisation after each sublayer. ``OPTForCausalLM`` with ``do_layer_norm_before=False`` computes
the same sublayers under a causal mask, so the encoder's layers are copied as they are (the warm
start of Rothe, Narayan and Severyn 2020, section 3). What differs is folded into the embeddings:
BERT normalises the sum of word and position, OPT does not. Notation: B sequences, T tokens, H
width, V vocabulary. The forward here computes what ``OPTForCausalLM`` does
(``export.reload_matches`` compares them) but fuses the query, key and value products and hands out
an intermediate layer.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoTokenizer,
    BertModel,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
)

AUXILIARY_LAYER = 4  # here the sentence is summed up; the layers above compare and copy
MATCH_LAYER = 4  # its first four heads are shown which earlier answers fit
OFFSET = 2  # OPT's first two positions are unused
POSITIONS = 2048
LAST_GAIN = 0.1  # rows and last states have length 12: their products would saturate the softmax
COPY_GAIN = 1.5  # what the copying heads write, in lengths of a row
NEAR_WORDS = {  # tokens without letters, and the words whose vectors they begin with
    "<|pad|>": "[PAD]", "<|bos|>": "[CLS]", "<|eos|>": "[SEP]", "<|end|>": "[SEP]",
    "<|system|>": "system", "<|user|>": "user", "<|assistant|>": "assistant", "<|tool|>": "tool",
    "\n": ".",
}  # fmt: skip


def configuration(tokenizer: PreTrainedTokenizerFast) -> OPTConfig:
    """MiniLM's shape under OPT's names, tied embeddings."""
    return OPTConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        word_embed_proj_dim=384,
        ffn_dim=1536,
        num_hidden_layers=6,
        num_attention_heads=12,
        max_position_embeddings=POSITIONS,
        activation_function="gelu",
        do_layer_norm_before=False,
        dropout=0.0,
        attention_dropout=0.0,
        layerdrop=0.0,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


@torch.no_grad()
def create(tokenizer: PreTrainedTokenizerFast, encoder: Path | None, seed: int) -> nn.Module:
    """A fresh model; with ``encoder``, a BERT folder of the same shape, it begins as that one."""
    torch.manual_seed(seed)
    model = OPTForCausalLM(configuration(tokenizer))
    if encoder is None:
        return model
    bert = BertModel.from_pretrained(encoder, dtype=torch.float32).eval()
    inner = model.model.decoder
    for ours, theirs in zip(inner.layers, bert.encoder.layer, strict=True):
        for to, source in (
            (ours.self_attn.q_proj, theirs.attention.self.query),
            (ours.self_attn.k_proj, theirs.attention.self.key),
            (ours.self_attn.v_proj, theirs.attention.self.value),
            (ours.self_attn.out_proj, theirs.attention.output.dense),
            (ours.self_attn_layer_norm, theirs.attention.output.LayerNorm),
            (ours.fc1, theirs.intermediate.dense),
            (ours.fc2, theirs.output.dense),
            (ours.final_layer_norm, theirs.output.LayerNorm),
        ):
            to.load_state_dict(source.state_dict())
    last = inner.layers[-1].final_layer_norm
    last.weight.mul_(LAST_GAIN)
    last.bias.mul_(LAST_GAIN)
    pieces = AutoTokenizer.from_pretrained(encoder)
    rows, places = embeddings(bert, word_rows(tokenizer, bert, pieces))
    inner.embed_tokens.weight.copy_(rows)
    inner.embed_positions.weight[OFFSET:] = places
    inner.embed_positions.weight[:OFFSET] = places[0]
    begin = bert.embeddings(torch.tensor([[pieces.cls_token_id]]))[0, 0]
    inner.embed_tokens.weight[tokenizer.bos_token_id] = begin - places[0]
    model.tie_weights()
    return model


def word_rows(
    tokenizer: PreTrainedTokenizerFast, bert: BertModel, pieces: PreTrainedTokenizerFast
) -> Tensor:
    """The encoder's word vector of each token, (V, H): the mean over its word pieces.

    The encoder knows no case: capitals share a word's vector but for one of two small directions.
    """
    known = pieces.get_vocab()
    table = bert.embeddings.word_embeddings.weight
    capital, upper = 0.35 * F.normalize(torch.randn(2, table.shape[1]), dim=-1)
    out = torch.zeros(len(tokenizer), table.shape[1])
    for i in range(len(tokenizer)):
        text = tokenizer.decode([i])
        bare = text.strip()
        if text in NEAR_WORDS:
            ids = [known[NEAR_WORDS[text]]]
        else:
            ids = pieces(bare, add_special_tokens=False)["input_ids"] if bare else []
            inside = f"##{bare.lower()}"
            if bare and text[0] != " " and bare[0].islower() and inside in known:
                ids = [known[inside]]  # within a word, or the start of one: mostly the former
        row = table[ids].mean(0) if ids else table[known["[UNK]"]]
        if bare[:1].isupper():
            row = row + (upper if len(bare) > 1 and bare.isupper() else capital)
        out[i] = row + 0.02 * torch.randn(table.shape[1])
    return out


def embeddings(bert: BertModel, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Word and position tables whose sum is near BERT's normalised sum of both.

    LN(w + p) ≈ g (w + p̄ − mean)/σ_w + b + g (p − p̄)/σ̄, σ_w of each word beside the mean position.
    Positions past the encoder's 512 follow the hierarchical extension p_{512 i + j} = α u_i +
    (1 − α) u_j (Su 2020) with α = 0.4, which leaves the first 512 as they are.
    """
    table = bert.embeddings
    norm, places = table.LayerNorm, table.position_embeddings.weight
    kind, middle = table.token_type_embeddings.weight[0], places[:256].mean(0)
    x = rows + kind + middle
    x = x - x.mean(-1, keepdim=True)
    spread = (x.square().mean(-1, keepdim=True) + places[:256].var(0).mean()).sqrt()
    words = x / spread * norm.weight + norm.bias
    alpha, n = 0.4, len(places)
    base = (places - alpha * places[:1]) / (1 - alpha)
    index = torch.arange(POSITIONS)
    far = alpha * base[index // n] + (1 - alpha) * base[index % n]
    far = far - middle
    far = far - far.mean(-1, keepdim=True)
    return words, far / spread.mean() * norm.weight


@torch.no_grad()
def copy_heads(model: nn.Module, states: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Let the matching heads copy: ``weight`` (H, H) and ``bias`` (H,) tell a token's row from a
    state that stands before ``MATCH_LAYER``; values hold its leading components over ``states``."""
    heads, d = 4, 32
    attention = model.model.decoder.layers[MATCH_LAYER].self_attn  # type: ignore[attr-defined]
    told = states @ weight.T + bias
    _, _, v = torch.pca_lowrank(told, heads * d, center=True)
    attention.v_proj.weight[: heads * d] = v.T @ weight
    attention.v_proj.bias[: heads * d] = v.T @ bias
    attention.out_proj.weight[:, : heads * d] = COPY_GAIN * v


@torch.no_grad()
def load_weights(model: nn.Module, folder: Path) -> None:
    """Copy the weights of a model folder of the same shape and tokenizer."""
    found = OPTForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.load_state_dict(found.state_dict())


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, (B, heads, T, head width).

    On a CPU the backward pass of the fused kernel takes longer than that of three plain products
    while T is short.
    """
    t = q.shape[-2]
    if q.device.type != "cpu" or t > 512:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    mask = torch.full((t, t), float("-inf"), dtype=q.dtype, device=q.device).triu(1)
    rows = q.shape[0] * q.shape[1]
    scores = torch.baddbmm(
        mask.expand(rows, t, t), q.flatten(0, 1), k.flatten(0, 1).mT, alpha=q.shape[-1] ** -0.5
    )
    with torch.autocast("cpu", enabled=False):
        weights = scores.softmax(-1)
    return (weights @ v.flatten(0, 1)).view_as(q)


def forward(
    model: nn.Module, tokens: Tensor, first: Tensor | None = None, *, part: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Last hidden states and those after ``AUXILIARY_LAYER`` layers, both (B, T, H), and the
    matching heads' queries and keys (B, 4, T, D). ``first`` (B,) is each row's first position.
    With ``part`` only the layers up to ``AUXILIARY_LAYER`` are run.

    Sequences are padded on the right, so the causal mask alone keeps padding out.
    """
    config: OPTConfig = model.config  # type: ignore[assignment]
    b, t = tokens.shape
    heads = config.num_attention_heads
    d = config.hidden_size // heads
    inner = model.model.decoder  # type: ignore[attr-defined]
    places = torch.arange(OFFSET, OFFSET + t, device=tokens.device)[None]
    if first is not None:
        places = places + first[:, None]
    h = F.embedding(tokens, inner.embed_tokens.weight)
    h = h + F.embedding(places, inner.embed_positions.weight)
    middle = match_q = match_k = h
    for i, layer in enumerate(inner.layers):
        at = layer.self_attn
        three = (at.q_proj, at.k_proj, at.v_proj)
        qkv = F.linear(h, torch.cat([m.weight for m in three]), torch.cat([m.bias for m in three]))
        q, k, v = qkv.view(b, t, 3, heads, d).permute(2, 0, 3, 1, 4).unbind(0)
        if i == MATCH_LAYER:
            match_q, match_k = q[:, :4], k[:, :4]
        a = attention(q, k, v).transpose(1, 2).reshape(b, t, heads * d)
        h = layer.self_attn_layer_norm(h + at.out_proj(a))
        h = layer.final_layer_norm(h + layer.fc2(F.gelu(layer.fc1(h))))
        if i + 1 == AUXILIARY_LAYER:
            middle = match_q = match_k = h
            if part:
                break
    return h, middle, match_q, match_k
