"""The encoder in closed form: principal components of 8 × 8 pixels, written into an AutoencoderKL.

An autoencoder that learns from nothing takes hours of a core for what is nearly linear in these
pictures. Here each halving puts four neighbours side by side and keeps the directions in which they
vary most; 16 numbers stay of 8 × 8 pixels (93 % of the variance where a shape is). Only the decoder
learns: it knows shapes, and draws their edges sharp again.

In the network the residual branches are zero, convolutions of stride 2 do the halving, and two
large constant channels and pairs of opposite sign carry the numbers through the last normalisation
and activation: silu(x) − silu(−x) = x.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Array = NDArray[np.float32]
FILE = "linear_code.safetensors"
KEPT = (12, 23, 31)  # numbers kept after each halving
CHANNELS = 16  # numbers that stay
CONSTANT = 300.0  # of the constant channels: large against the numbers, so that scales stay equal
SAMPLE = 3000  # pictures that the directions are found on
EVENED = 0.9  # 1: all directions get one spread; 0: they keep theirs


@dataclass(frozen=True)
class LinearCode:
    """The directions kept after each halving, and the mean and the factor of what stays."""

    second: Array  # (48, 23): of 4 × 4 pixels
    third: Array  # (92, 31): of 8 × 8 pixels
    mean: Array  # (16,)
    factor: Array  # (16,)

    def encode(self, pictures: NDArray[np.uint8]) -> Array:
        """Latents (N, 16, 8, 8) of pictures (N, 64, 64, 3)."""
        x = pictures.astype(np.float32) / 127.5 - 1
        x = halved(halved(halved(x)) @ self.second) @ self.third
        latents: Array = ((x[..., :CHANNELS] - self.mean) * self.factor).transpose(0, 3, 1, 2)
        return latents

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        save_file({k: np.ascontiguousarray(v) for k, v in vars(self).items()}, folder / FILE)

    @staticmethod
    def load(folder: Path) -> LinearCode:
        """Read the arrays."""
        return LinearCode(**load_file(folder / FILE))


def halved(x: Array) -> Array:
    """Put 2 × 2 neighbours side by side: (N, H, W, C) to (N, H/2, W/2, 4 C)."""
    n, h, w, c = x.shape
    return (
        x.reshape(n, h // 2, 2, w // 2, 2, c)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(n, h // 2, w // 2, 4 * c)
    )


def foreground(x: Array) -> NDArray[np.bool_]:
    """Where a picture is not its background, which its first pixel shows: (N, H, W)."""
    return np.asarray(np.abs(x - x[:, :1, :1]).max(-1) > 0.1)


def fit(pictures: NDArray[np.uint8]) -> LinearCode:
    """Find the directions on places where shapes are, and a quarter as many where none is."""
    x = pictures[:SAMPLE].astype(np.float32) / 127.5 - 1
    shape = foreground(x)
    four = halved(halved(x))
    second = directions(chosen(four, shape), KEPT[1])
    eight = halved(four @ second)
    third = directions(chosen(eight, shape), KEPT[2])
    kept = chosen(eight @ third, shape)[:, :CHANNELS]
    spread = kept.std(0)
    factor = spread**-EVENED
    return LinearCode(
        second, third, kept.mean(0), (factor / (spread * factor).mean()).astype(np.float32)
    )


def chosen(x: Array, shape: NDArray[np.bool_]) -> Array:
    """The numbers of places with a shape, and of some without: (M, C)."""
    n, h, w, _ = x.shape
    step = shape.shape[1] // h
    there = shape.reshape(n, h, step, w, step).any((2, 4))
    with_shape, without = x[there], x[~there]
    return np.concatenate([with_shape, without[:: max(1, 4 * len(without) // len(with_shape))]])


def directions(x: Array, count: int) -> Array:
    """The first principal directions, (C, count)."""
    _, vectors = np.linalg.eigh(np.cov(x.T))
    return np.ascontiguousarray(vectors[:, ::-1][:, :count]).astype(np.float32)


@torch.no_grad()
def write(code: LinearCode, vae: Any) -> None:
    """Set the weights of the encoder of an AutoencoderKL (one group a normalisation)."""
    encoder = vae.encoder
    for name, p in [*encoder.named_parameters(), *vae.quant_conv.named_parameters()]:
        p.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    encoder.conv_in.weight[:3, :, 1, 1] = torch.eye(3)
    encoder.conv_in.bias[3] = CONSTANT
    inner: list[Array] = [np.eye(12, dtype=np.float32), code.second, code.third]
    last = len(encoder.down_blocks) - 1
    width = 3
    for block, kept in zip(encoder.down_blocks[:last], inner, strict=True):
        _carry(block, width)
        conv = block.downsamplers[0].conv
        count = kept.shape[1]
        taps = torch.from_numpy(kept).T.reshape(count, 2, 2, width).permute(0, 3, 1, 2)
        conv.weight[:count, :width, :2, :2] = taps
        conv.weight[count, width, 0, 0] = 1.0  # the constant
        width = count
    _carry(encoder.down_blocks[last], width, signs=True)
    scale = _scale(encoder)
    for n in range(CHANNELS):
        factor = float(code.factor[n] * scale)
        encoder.conv_out.weight[n, 2 * n, 1, 1] = factor
        encoder.conv_out.weight[n, 2 * n + 1, 1, 1] = -factor
        encoder.conv_out.bias[n] = -float(code.mean[n] * code.factor[n])
        encoder.conv_out.bias[CHANNELS + n] = -20.0  # log-variance: none
    vae.quant_conv.weight[:, :, 0, 0] = torch.eye(2 * CHANNELS)


@torch.no_grad()
def read(vae: Any) -> LinearCode:
    """The code that :func:`write` wrote into an AutoencoderKL."""
    blocks, last = vae.encoder.down_blocks, vae.encoder.conv_out
    second, third = (
        blocks[n].downsamplers[0].conv.weight[:count, :width, :2, :2].permute(0, 2, 3, 1)
        .reshape(count, 4 * width).T.float().numpy()
        for n, count, width in ((1, KEPT[1], KEPT[0]), (2, KEPT[2], KEPT[1]))
    )  # fmt: skip
    places = torch.arange(CHANNELS)
    factor = last.weight[places, 2 * places, 1, 1].float().numpy() / _scale(vae.encoder)
    mean = -last.bias[:CHANNELS].float().numpy() / factor
    return LinearCode(second, third, mean.astype(np.float32), factor.astype(np.float32))


def _scale(encoder: Any) -> float:
    """What the last normalisation, of one group, divides the numbers by."""
    return float(CONSTANT * np.sqrt(2 / encoder.conv_norm_out.num_channels))


def _carry(block: Any, width: int, *, signs: bool = False) -> None:
    """The first residual block only passes the numbers and the constant on, into its wider
    channels; with `signs` each number twice, with opposite signs, and so the constant."""
    first = block.resnets[0]
    if first.conv_shortcut is None:
        return  # as many channels: the skip passes all
    weight = first.conv_shortcut.weight
    if not signs:
        weight[: width + 1, : width + 1, 0, 0] = torch.eye(width + 1)
        return
    for n in range(width + 1):
        weight[2 * n, n, 0, 0] = 1.0
        weight[2 * n + 1, n, 0, 0] = -1.0
