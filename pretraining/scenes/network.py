"""The three networks of a latent diffusion model (Rombach et al. 2022), small.

A picture of 64 × 64 becomes 8 × 8 places of 16 numbers; the denoiser works on those, under the
states of a text encoder of CLIP's form that learns with it.
"""

from __future__ import annotations

from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from pretraining.scenes.words import LENGTH

WIDTH = 160  # of the text encoder's states
CHANNELS = 16  # numbers at each place of a latent


def autoencoder() -> AutoencoderKL:
    """Pictures (B, 3, 64, 64) to latents (B, 16, 8, 8) and back."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 24, 48, 64),
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=1,
        sample_size=64,
        mid_block_add_attention=False,
    )


def denoiser() -> UNet2DConditionModel:
    """Predicts the velocity of a latent from a noisy one, a time and a caption's states.

    Places have no number in this form: convolutions learn where the edge is. Of 2 × 2 places each
    has its corner, so "in the top left" and how many shapes there are can be settled there."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(96, 128, 144),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,  # heads, by an old misnomer of the library
        norm_num_groups=16,
    )


def text_encoder(tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    """A caption's states (B, 32, 160)."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=5,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=WIDTH,
        )
    )


def scheduler() -> DPMSolverMultistepScheduler:
    """The noise schedule (cosine, velocities) and the solver that ships with the model."""
    return DPMSolverMultistepScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )
