"""The number format in which a CPU multiplies matrices, decided by measurement.

Weights, sums of losses, softmax and optimiser are float32 on a CPU. Its matrix products may run in
bfloat16, which pays on some processors (tile instructions: several times as fast) and costs on
others (on one with AVX512-BF16 alone 0.5 times as fast), and no flag tells them apart. So a product
like a layer's is timed in both, once a machine. The result is kept in the cache folder, so that
runs repeat, and goes into the provenance of a comparison. Steps of generation stay in float32
everywhere: few rows a step, and the weights would be converted for each.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch.overrides import TorchFunctionMode

from luthier.errors import StorageError, UserError, did_you_mean
from luthier.ledger.artifacts import write_text
from luthier.ledger.cache import default_cache_path
from luthier.ledger.provenance import provenance

VARIABLE = "LUTHIER_PRECISION"
CHOICES = ("auto", "float32", "bfloat16")
MARGIN = 1.2  # a smaller gain is not worth the rounding, and could be gone at the next measurement
ROUNDS = 3
SHAPE = (512, 512, 1024)  # half a GFLOP: some milliseconds each time

Format = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class MatmulPrecision:
    """A number format; `bfloat16_speedup` says how many times as fast bfloat16 was, and is None
    where nothing was measured."""

    format: Format
    bfloat16_speedup: float | None = None


def matmul_precision() -> MatmulPrecision:
    """What LUTHIER_PRECISION says, or what was measured on this machine.

    UserError for a value that is no format.
    """
    value = os.environ.get(VARIABLE, "").strip().lower() or "auto"
    if value == "auto":
        return _measured(torch.get_num_threads())
    if value == "float32":
        return MatmulPrecision("float32")
    if value == "bfloat16":
        return MatmulPrecision("bfloat16")
    raise UserError(
        f"{VARIABLE}={value!r} is no number format",
        choices=CHOICES,
        next_step=did_you_mean(value, CHOICES) or "Unset it to let Luthier measure.",
    )


def precision_file() -> Path:
    """The file that keeps measurements, by processor, threads and version of torch."""
    return default_cache_path().with_name("precision.json")


@contextmanager
def autocast(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Surround a forward pass of many tokens: its matrix products run in the format decided on.

    `device` and `dtype` are those of the base. Nothing changes on an accelerator, whose base is in
    bfloat16 already, nor where the format is float32.

    Attention stays in float32: its backward pass runs several times slower in bfloat16.
    """
    if device.type != "cpu" or dtype != torch.float32 or matmul_precision().format == "float32":
        yield
        return
    with torch.autocast("cpu", torch.bfloat16), Float32Attention():
        yield


@lru_cache
def _measured(threads: int) -> MatmulPrecision:
    if not _multiplies_bfloat16():
        return MatmulPrecision("float32")
    here = provenance()
    key = f"{here.cpu}, {threads} threads, torch {here.torch}"
    before = _read()
    if key in before:
        with suppress(TypeError):
            return MatmulPrecision(**before[key])
    speedup = measured_speedup()
    found = MatmulPrecision("bfloat16" if speedup > MARGIN else "float32", round(speedup, 2))
    with suppress(StorageError):  # without the file the next process measures again
        write_text(precision_file(), json.dumps({**before, key: asdict(found)}, indent=1))
    return found


def measured_speedup() -> float:
    """How many times as fast a linear layer is when its input and weight are converted to bfloat16
    and its output back.

    Both formats are timed in turn and the best time of each counts, for what else runs slows both.
    """
    rows, inner, outer = SHAPE
    values, weight = torch.rand(rows, inner), torch.rand(outer, inner)

    def product(dtype: torch.dtype) -> float:
        start = time.perf_counter()
        torch.nn.functional.linear(values.to(dtype), weight.to(dtype)).float()
        return time.perf_counter() - start

    with torch.inference_mode():
        pairs = [(product(torch.float32), product(torch.bfloat16)) for _ in range(ROUNDS + 1)]
    wide, half = (min(times) for times in zip(*pairs[1:], strict=True))  # the first one warms up
    return float(wide / half)


def _multiplies_bfloat16() -> bool:
    """Whether to time it: not where it would be emulated, for that would take long."""
    if torch.backends.cpu.get_cpu_capability().startswith(("AVX", "DEFAULT")):
        names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, lambda: False)() for name in names)
    return True


def _read() -> dict[str, Any]:
    try:
        found = json.loads(precision_file().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Float32Attention(TorchFunctionMode):
    """Inside it every scaled dot-product attention runs in float32, by `attend`."""

    def attend(self, inputs: dict[str, Any]) -> torch.Tensor:
        """The attention of `query` to `key` and `value`; `inputs` has torch's names, all in
        float32. A subclass may compute it another way."""
        return torch.nn.functional.scaled_dot_product_attention(**inputs)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **named)
        inputs = dict(zip(_INPUTS, args, strict=False)) | named
        dtype = inputs["query"].dtype
        with torch.autocast("cpu", enabled=False):
            out = self.attend({name: _wide(value) for name, value in inputs.items()})
        return out.to(dtype)


_INPUTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def _wide(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16:
        return value.float()
    return value
