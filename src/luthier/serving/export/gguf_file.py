"""Merged weights as a GGUF file in float32, which llama.cpp opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luthier.errors import CapabilityError, UserError
from luthier.models.model import Model
from luthier.serving.export.gguf_families import GgufFamily, family_of, rope_theta, uncovered
from luthier.serving.export.gguf_tokenizer import write_tokenizer
from luthier.serving.export.merged_model import merged_module

LEFT_OUT = (".attn.bias", ".attn.masked_bias", "rotary_emb.inv_freq")


def write_gguf(model: Model, path: Path) -> None:
    """Write the model, with its adapter in the weights. UserError without the package gguf,
    CapabilityError for a base or a tokenizer that llama.cpp does not know."""
    try:
        import gguf
    except ImportError as error:
        raise UserError(
            "writing GGUF needs the package gguf, which is not installed",
            next_step="pip install 'luthier[export]'",
        ) from error
    module = merged_module(model)
    config = module.config.get_text_config()
    family = family_of(config)
    if family is None:
        raise CapabilityError(f"--to gguf: {uncovered(config)}", next_step="Choose --to merged.")
    writer = gguf.GGUFWriter(path, family.arch)
    _write_shape(writer, config, name=model.backend.name)
    vocabulary = int(module.get_input_embeddings().weight.shape[0])
    writer.add_vocab_size(vocabulary)
    with model.backend.session(model.adaptation) as session:
        write_tokenizer(writer, session.tokenizer, vocabulary)
    _write_tensors(writer, module, config, family)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_shape(writer: Any, config: Any, *, name: str) -> None:
    """The sizes, under the names that GGUF has for them."""
    import gguf

    layers, width = config.num_hidden_layers, config.hidden_size
    heads = config.num_attention_heads
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    writer.add_feed_forward_length(inner or 4 * width)
    writer.add_head_count(heads)
    if config.model_type == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    head = getattr(config, "head_dim", None) or width // heads
    writer.add_head_count_kv(getattr(config, "num_key_value_heads", None) or heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    writer.add_value_length(head)
    theta = rope_theta(config)
    if theta is not None:
        writer.add_rope_freq_base(theta)
    if config.model_type in ("gemma2", "gemma3_text"):
        writer.add_sliding_window(config.sliding_window)
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)


def _write_tensors(writer: Any, module: Any, config: Any, family: GgufFamily) -> None:
    import gguf
    import torch

    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == family.arch)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tied = bool(config.tie_word_embeddings)
    for name, tensor in module.state_dict().items():
        if name.endswith(LEFT_OUT) or (tied and name.startswith("lm_head.")):
            continue
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise CapabilityError(
                f"--to gguf: {family.arch} in llama.cpp has no place for the tensor {name}",
                next_step="Choose --to merged.",
            )
        changed = family.change(name, tensor.to(torch.float32), config).contiguous()
        writer.add_tensor(found, changed.cpu().numpy())
