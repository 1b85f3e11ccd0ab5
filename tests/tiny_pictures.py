"""Tiny text-to-image pipelines with random weights, one for each kind of pipeline."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

LENGTH, WIDTH = 16, 16
WORDS = "a red blue circle square star on white at night and above shape blurry sharp"


@lru_cache
def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    start, end = "<|startoftext|>", "<|endoftext|>"
    names = [start, end, *dict.fromkeys(WORDS.split())]
    inner = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=end))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 0), (end, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=start, eos_token=end, pad_token=end, unk_token=end,
        model_max_length=LENGTH,
    )  # fmt: skip


def text_encoder(kind: Any = CLIPTextModel) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer()), hidden_size=WIDTH, intermediate_size=32,
            num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=LENGTH,
            bos_token_id=0, eos_token_id=1, pad_token_id=1, projection_dim=WIDTH,
        )
    ).eval()  # fmt: skip


def t5() -> Any:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer()), d_model=WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            decoder_start_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    ).eval()  # fmt: skip


def autoencoder(**settings: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4,
        layers_per_block=1, sample_size=16, mid_block_add_attention=False, **settings,
    ).eval()  # fmt: skip


def denoiser(**settings: Any) -> Any:
    from diffusers import UNet2DConditionModel

    known: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }
    return UNet2DConditionModel(**(known | settings)).eval()


@lru_cache
def stable_diffusion(scheduler: str = "DDIMScheduler", **settings: Any) -> Any:
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = getattr(diffusers, scheduler)
        plain = {"clip_sample": False} if scheduler == "DDIMScheduler" else {}
        pipeline = diffusers.StableDiffusionPipeline(
            vae=autoencoder(), text_encoder=text_encoder(), tokenizer=tokenizer(),
            unet=denoiser(**settings), safety_checker=None, feature_extractor=None,
            scheduler=made(beta_schedule="scaled_linear", steps_offset=1, **plain),
            requires_safety_checker=False,
        )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def distilled() -> Any:
    """Guidance is part of its weights, as in latent consistency models."""
    return stable_diffusion(time_cond_proj_dim=8)


@lru_cache
def stable_diffusion_xl() -> Any:
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(2)
        unet = denoiser(
            cross_attention_dim=2 * WIDTH, addition_embed_type="text_time",
            addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + WIDTH,
        )  # fmt: skip
        pipeline = diffusers.StableDiffusionXLPipeline(
            vae=autoencoder(), text_encoder=text_encoder(), tokenizer=tokenizer(),
            text_encoder_2=text_encoder(CLIPTextModelWithProjection), tokenizer_2=tokenizer(),
            unet=unet, scheduler=diffusers.EulerDiscreteScheduler(steps_offset=1),
            add_watermarker=False,
        )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@lru_cache
def pixart() -> Any:
    """A diffusion transformer with T5."""
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(3)
        transformer = diffusers.PixArtTransformer2DModel(
            sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=2,
            caption_channels=WIDTH, in_channels=4, out_channels=8, cross_attention_dim=16,
            norm_num_groups=1, use_additional_conditions=False,
        ).eval()  # fmt: skip
        # Its last layer begins at zero, and then no word changes anything.
        torch.nn.init.normal_(transformer.proj_out.weight, std=0.5)
        pipeline = diffusers.PixArtAlphaPipeline(
            tokenizer=tokenizer(), text_encoder=t5(), vae=autoencoder(), transformer=transformer,
            scheduler=diffusers.DDIMScheduler(clip_sample=False, steps_offset=1),
        )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@lru_cache
def flux(guidance_embeds: bool = True) -> Any:
    """A flow transformer, whose guidance is part of its weights unless it is said otherwise."""
    import diffusers

    with torch.random.fork_rng():
        torch.manual_seed(4)
        transformer = diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH,
            axes_dims_rope=(4, 4, 8), guidance_embeds=guidance_embeds,
        ).eval()  # fmt: skip
        pipeline = diffusers.FluxPipeline(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
            vae=autoencoder(shift_factor=0.1),
            text_encoder=text_encoder(), tokenizer=tokenizer(), text_encoder_2=t5(),
            tokenizer_2=tokenizer(), transformer=transformer,
        )  # fmt: skip
    pipeline.default_sample_size = 8
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def saved(pipeline: Any, folder: Path) -> Path:
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
