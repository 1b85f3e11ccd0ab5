"""Pictures a second against the plain loop of `diffusers`, at equal pictures.

    python -m benchmarks.pictures [--model FOLDER] [--rounds 3]

Two jobs: `terms` (variants of a prompt, each with the same seeds) and `compare` (requests, each
with a seed of its own, under prompts and guidance scales of several techniques). The plain loop
calls the pipeline once for each picture, as the page of `diffusers` on reproducible pictures shows;
"by prompt" gives it all pictures of one prompt at once. Time is that of the processor, on one
thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from luthier.images.drawing import Drawing, Pixels
from luthier.images.painter import Painter

GUIDANCE, STEPS = 4.0, 12
TERMS = ("glowing", "at night", "high quality")
SEEDS = 6
MUST_BE = 1.5


def terms_job() -> list[Drawing]:
    """A request with each subset of three terms, with and without a negative prompt, by seed."""
    found = []
    for mask in product((True, False), repeat=len(TERMS)):
        shown = [term for term, is_shown in zip(TERMS, mask, strict=True) if is_shown]
        text = ", ".join(["a red circle and a blue square", *shown])
        for negative in ("", "a star"):
            found += [_drawing(text, seed, negative) for seed in range(SEEDS)]
    return found


def compare_job() -> list[Drawing]:
    """Twelve requests under four techniques: bare, with terms, with a negative prompt, guided
    more."""
    colours = ("red", "blue", "green", "pink")
    words = [f"a {a} {s}" for a in colours for s in ("circle", "star", "square")]
    found = []
    for seed, text in enumerate(words):
        found += [_drawing(text, seed), _drawing(f"{text}, sharp", seed)]
        found += [_drawing(text, seed, "a cross"), _drawing(text, seed, guidance=6.0)]
    return found


def _drawing(text: str, seed: int, negative: str = "", guidance: float = GUIDANCE) -> Drawing:
    return Drawing(text, negative, seed, STEPS, guidance)


def one_by_one(pipeline: Any, drawings: Sequence[Drawing]) -> list[Pixels]:
    """The plain loop."""
    return [_called(pipeline, [d])[0] for d in drawings]


def by_prompt(pipeline: Any, drawings: Sequence[Drawing]) -> list[Pixels]:
    """The plain loop over prompts, all pictures of each at once."""
    groups: dict[tuple[str, str, float | None], list[int]] = {}
    for i, d in enumerate(drawings):
        groups.setdefault((d.prompt, d.negative, d.guidance_scale), []).append(i)
    found: dict[int, Pixels] = {}
    for numbers in groups.values():
        found |= zip(numbers, _called(pipeline, [drawings[i] for i in numbers]), strict=True)
    return [found[i] for i in range(len(drawings))]


def _called(pipeline: Any, drawings: Sequence[Drawing]) -> list[Pixels]:
    import torch

    shown = pipeline(
        [d.prompt for d in drawings],
        negative_prompt=[d.negative for d in drawings],
        generator=[torch.Generator().manual_seed(d.seed) for d in drawings],
        guidance_scale=drawings[0].guidance_scale, num_inference_steps=STEPS, output_type="np",
    ).images  # fmt: skip
    return list(np.round(shown * 255).astype(np.uint8))


def untrained(folder: Path) -> Any:
    """A pipeline of the embedded model's form, with weights by lot."""
    import torch
    from pretraining.scenes import export, network, pool, words

    pool.build(folder, 300)
    tokenizer = words.build(folder)
    torch.manual_seed(0)
    return export.build(
        network.autoencoder().eval(), network.text_encoder(tokenizer).eval(), tokenizer,
        network.denoiser().eval(),
    )  # fmt: skip


def measured(pipeline: Any, drawings: Sequence[Drawing], rounds: int) -> dict[str, Any]:
    """Pictures a second of each way, round by round, and how far apart the pictures are."""
    ways: dict[str, Callable[[], list[Pixels]]] = {
        "ours": lambda: Painter(pipeline).draw(drawings),
        "one by one": lambda: one_by_one(pipeline, drawings),
        "by prompt": lambda: by_prompt(pipeline, drawings),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    pictures = {}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.process_time()
            pictures[name] = way()
            seconds[name].append(time.process_time() - started)
    gap = max(
        int(np.abs(a.astype(int) - b).max())
        for name in ("one by one", "by prompt")
        for a, b in zip(pictures["ours"], pictures[name], strict=True)
    )
    times = {
        name: statistics.median(p / o for p, o in zip(seconds[name], seconds["ours"], strict=True))
        for name in ("one by one", "by prompt")
    }
    return {
        "pictures": len(drawings),
        "a second": {n: round(len(drawings) / statistics.median(s), 2) for n, s in seconds.items()},
        "times as fast": {name: round(value, 2) for name, value in times.items()},
        "largest difference of a channel (of 255)": gap,
        "met": times["one by one"] >= MUST_BE and gap <= 2,
    }


def main() -> None:
    """Print one JSON object a job."""
    import torch
    from diffusers import StableDiffusionPipeline

    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--model", type=Path, help="a pipeline folder; else weights by lot")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, help="pictures of a job, at most")
    a = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        if a.model is None:
            pipeline = untrained(Path(place))
        else:
            pipeline = StableDiffusionPipeline.from_pretrained(a.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
        part.requires_grad_(False)
    for name, job in (("terms", terms_job), ("compare", compare_job)):
        print(
            json.dumps({"job": name, **measured(pipeline, job()[: a.most], a.rounds)}), flush=True
        )


if __name__ == "__main__":
    main()
