"""The network: a Llama, kept as a transformers model, with a leaner training forward.

Notation: B sequences, T tokens, H width. The forward here computes what ``LlamaForCausalLM`` does
(the test in ``evaluate`` loads the exported folder with transformers alone) but fuses the query,
key and value products and hands out an intermediate layer for the auxiliary loss.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

AUXILIARY_LAYER = 3  # the sentence must be pooled here; the layers above compare and copy
POOL_LAYERS = (1, 2)  # their first heads begin by averaging the last dozen tokens
SHIFT_LAYERS = (0, 3)  # their first heads begin by looking at the token before
EMBEDDING_GAIN = 8.0
MATCH_LAYER = 4  # its first four heads are shown which earlier answers fit


def configuration(tokenizer: PreTrainedTokenizerFast, width: int = 256) -> LlamaConfig:
    """Six layers, heads of 32, half as many key-value heads, tied embeddings."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=6,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 64,
        head_dim=32,
        max_position_embeddings=2048,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def create(tokenizer: PreTrainedTokenizerFast, vectors: np.ndarray | None, seed: int) -> nn.Module:
    """A fresh model; ``vectors`` (vocabulary, width of the encoder) seed the token embeddings."""
    torch.manual_seed(seed)
    config = configuration(tokenizer)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2 and "embed" not in name:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
                if "o_proj" in name or "down_proj" in name:
                    p.zero_()
        weight = model.get_input_embeddings().weight
        nn.init.normal_(weight, std=0.02)
        if vectors is not None:
            meaning = semantic(vectors, config.hidden_size)
            bare = meaning.norm(dim=-1) == 0
            meaning[bare] = F.normalize(torch.randn(int(bare.sum()), config.hidden_size)) * 0.6
            weight.add_(meaning)
        common = F.normalize(torch.randn(config.hidden_size), dim=0)
        weight.add_(0.35 * common)
        # Rows of length 6 keep a token's identity visible beside what the layers add; the last norm
        # takes the factor back, so that the tied head's logits stay small.
        weight.mul_(EMBEDDING_GAIN)
        model.model.norm.weight.fill_(0.8 / EMBEDDING_GAIN)
        for i in SHIFT_LAYERS:
            look_back(model.model.layers[i].self_attn, config, common, i)
        layers = [layer.self_attn for layer in model.model.layers]
        for i in POOL_LAYERS:
            window(layers[i], config, common)
        pool, further = (layers[i] for i in POOL_LAYERS)
        r = compare(pool, further, layers[SHIFT_LAYERS[1]], layers[MATCH_LAYER], config)
    model.register_buffer("sentence_slice", r, persistent=False)
    return model


@torch.no_grad()
def load_weights(model: nn.Module, folder: Path) -> None:
    """Copy the weights of a model folder of the same shape and tokenizer."""
    found = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.load_state_dict(found.state_dict())


@torch.no_grad()
def window(attention: nn.Module, config: LlamaConfig, common: Tensor) -> None:
    """Begin with heads that average a dozen tokens: q·k = Σ_i A² cos(θ_i Δ), θ_i = 0.03–0.1."""
    d = config.head_dim
    wide = torch.zeros(d)
    wide[4:7] = 1.0
    for j in range(2):
        attention.k_proj.weight[j * d : (j + 1) * d] = 0.32 * torch.outer(wide, common)
        for h in (2 * j, 2 * j + 1):
            attention.q_proj.weight[h * d : (h + 1) * d] = 0.32 * torch.outer(wide, common)


@torch.no_grad()
def compare(
    pool: nn.Module, further: nn.Module, shift: nn.Module, match: nn.Module, config: LlamaConfig
) -> Tensor:
    """Begin with the circuit of soft look-up: what an answer followed, compared with what is here.

    The pooling heads write the mean of the leading components of meaning to a slice R, (64, H); the
    shift heads move the previous token's slice R to a slice S of their own (Sᵀ R y); the matching
    heads compare the two, q = G R y and k = G S y, in the slow rotary pairs only, so that distance
    does not matter; and a slice of what they attend to is copied as it is. Returns R.
    """
    d, width = config.head_dim, config.hidden_size
    per_pair = config.num_attention_heads // config.num_key_value_heads
    r, s, copied, rest = nn.init.orthogonal_(torch.empty(width, width)).split(2 * d)[:4]
    slow = torch.cat([torch.arange(d // 4, d // 2), torch.arange(3 * d // 4, d)])
    mixed = nn.init.orthogonal_(torch.empty(2 * d, 2 * d)) * 2.0
    pool.v_proj.weight[: 2 * d] = torch.eye(width)[: 2 * d]
    further.v_proj.weight[: 2 * d] = torch.eye(width)[2 * d : 4 * d]
    shift.v_proj.weight[: 2 * d] = r
    match.v_proj.weight[: 2 * d] = copied
    for h in range(2 * per_pair):
        pair, here = h // per_pair, slice(h * d, (h + 1) * d)
        rows = slice(pair * d, (pair + 1) * d)
        g = torch.zeros(d, 2 * d)
        g[slow] = mixed[pair * d // 2 : (pair + 1) * d // 2]
        pool.o_proj.weight[:, here] = r[rows].T
        further.o_proj.weight[:, here] = rest[rows].T
        shift.o_proj.weight[:, here] = s[rows].T * 0.5
        match.o_proj.weight[:, here] = copied[rows].T * 1.5
        match.q_proj.weight[here] = g @ r
        match.k_proj.weight[rows] = g @ s
    return r.clone()


@torch.no_grad()
def look_back(attention: nn.Module, config: LlamaConfig, common: Tensor, layer: int) -> None:
    """Begin with heads that attend to the previous token.

    All tokens share the direction ``common``; queries and keys read it alone, and the query is
    turned by one position, so q·k = Σ_i A² cos(θ_i (Δ − 1)) is greatest at distance Δ = 1.
    """
    d = config.head_dim
    gain, kv_heads = (1.8, 1) if layer == 0 else (3.2, 2)
    angle = config.rope_parameters["rope_theta"] ** -(torch.arange(0, d, 2) / d)
    fast = (torch.arange(d // 2) < 3).float()  # slow pairs barely tell distances apart
    key = torch.cat([fast, torch.zeros(d // 2)])
    query = torch.cat([fast * angle.cos(), -fast * angle.sin()])  # turned back by one position
    per_pair = config.num_attention_heads // config.num_key_value_heads
    for j in range(kv_heads):
        attention.k_proj.weight[j * d : (j + 1) * d] = gain * torch.outer(key, common)
        for h in range(j * per_pair, (j + 1) * per_pair):
            attention.q_proj.weight[h * d : (h + 1) * d] = gain * torch.outer(query, common)


def semantic(vectors: np.ndarray, width: int, norm: float = 0.6) -> Tensor:
    """Principal components of the encoder's vectors, rows of equal length; zero rows stay zero."""
    known = np.abs(vectors).sum(1) > 0
    x = torch.from_numpy(vectors[known]).float()
    x = x - x.mean(0)
    _, _, v = torch.linalg.svd(x, full_matrices=False)
    x = F.normalize(x @ v[:width].T, dim=-1) * norm
    out = torch.zeros(len(vectors), width)
    out[torch.from_numpy(known)] = x
    return out


def token_vectors(tokenizer: PreTrainedTokenizerFast, encoder: Path) -> np.ndarray:
    """The encoder's vector of each token's own text; zeros where the token has no letters."""
    from . import teacher

    texts = [tokenizer.decode([i]).strip() for i in range(len(tokenizer))]
    rows = [
        i for i, t in enumerate(texts) if any(c.isalpha() for c in t) and not t.startswith("<|")
    ]
    found = teacher.encode([texts[i] for i in rows], encoder)
    out = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
    out[rows] = found
    return out


def rotary(config: LlamaConfig, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (T, head width), in the half-rotated layout of Llama."""
    theta = config.rope_parameters["rope_theta"]
    frequency = theta ** -(torch.arange(0, config.head_dim, 2, device=device) / config.head_dim)
    angle = torch.outer(torch.arange(length, device=device).float(), frequency)
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, (B, heads, T, head width).

    On a CPU the backward pass of the fused kernel takes four times as long as three plain products
    while T is around a hundred, and stays slower up to about T = 512.
    """
    t = q.shape[-2]
    if q.device.type != "cpu" or t > 512:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    kind = q.dtype
    q, k, v = (x.to(torch.bfloat16) for x in (q, k, v))
    mask = torch.full((t, t), float("-inf"), dtype=q.dtype, device=q.device).triu(1)
    rows = q.shape[0] * q.shape[1]
    scores = torch.baddbmm(
        mask.expand(rows, t, t), q.flatten(0, 1), k.flatten(0, 1).mT, alpha=q.shape[-1] ** -0.5
    )
    with torch.autocast("cpu", enabled=False):
        weights = scores.softmax(-1)
    return (weights @ v.flatten(0, 1)).view_as(q).to(kind)


def forward(
    model: nn.Module, tokens: Tensor, *, part: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Last hidden states and those after ``AUXILIARY_LAYER`` layers, both (B, T, H), and the
    matching heads' queries and keys (B, 4, T, D). With ``part`` only the layers up to
    ``AUXILIARY_LAYER`` are run.

    Sequences are padded on the right, so the causal mask alone keeps padding out.
    """
    config: LlamaConfig = model.config  # type: ignore[assignment]
    b, t = tokens.shape
    heads, pairs, d = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    eps = config.rms_norm_eps
    inner = model.model  # type: ignore[attr-defined]
    h = F.embedding(tokens, inner.embed_tokens.weight)
    cos, sin = rotary(config, t, tokens.device)
    cos, sin = cos.to(torch.bfloat16), sin.to(torch.bfloat16)
    middle = match_q = match_k = h
    for i, layer in enumerate(inner.layers):
        at, mlp = layer.self_attn, layer.mlp
        y = F.rms_norm(h, (h.shape[-1],), layer.input_layernorm.weight, eps)
        w = torch.cat([at.q_proj.weight, at.k_proj.weight, at.v_proj.weight])
        qkv = F.linear(y, w).view(b, t, heads + 2 * pairs, d).transpose(1, 2)
        q, k, v = qkv.split([heads, pairs, pairs], dim=1)
        q, k = _turn(q, cos, sin), _turn(k, cos, sin)
        if i == MATCH_LAYER:
            match_q, match_k = q[:, :4], k[:, :2].repeat_interleave(2, 1)
        k = k.repeat_interleave(heads // pairs, 1)
        v = v.repeat_interleave(heads // pairs, 1)
        a = attention(q, k, v)
        h = h + F.linear(a.transpose(1, 2).reshape(b, t, heads * d), at.o_proj.weight)
        y = F.rms_norm(h, (h.shape[-1],), layer.post_attention_layernorm.weight, eps)
        gate, up = F.linear(y, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])).chunk(2, -1)
        h = h + F.linear(F.silu(gate) * up, mlp.down_proj.weight)
        if i + 1 == AUXILIARY_LAYER:
            middle = match_q = match_k = h
    return F.rms_norm(h, (h.shape[-1],), inner.norm.weight, eps), middle, match_q, match_k
