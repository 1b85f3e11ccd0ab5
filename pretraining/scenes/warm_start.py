"""Go on from a pipeline that was exported: its weights as the first checkpoints of a new run.

The pool is drawn anew; the code of the encoder is read back out of the pipeline, since directions
that are found again may point the other way.
"""

from __future__ import annotations

import json
from pathlib import Path

from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from pretraining.scenes import learn_meaning, learn_pictures, learn_words, linear_code, words

NOTHING = {"at": json.dumps({"seconds": 0.0, "step": 0.0})}


def begin(out: Path, folder: Path) -> None:
    """Write the checkpoints of a run in `out` from the pipeline in `folder`.

    FileExistsError where the run has begun.
    """
    path = out / learn_words.CHECKPOINT
    if path.exists():
        raise FileExistsError(f"{path} is there: the run has begun, and goes on without --start")
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.tokenizer.save_pretrained(out / words.FOLDER)
    linear_code.read(pipe.vae).save(out)
    kept = learn_pictures.learnt(pipe.vae)
    save_file(
        {n: p.detach().contiguous() for n, p in kept.items()}, out / learn_pictures.CHECKPOINT,
        metadata=NOTHING,
    )  # fmt: skip
    text = {n: p.detach().contiguous() for n, p in pipe.text_encoder.named_parameters()}
    save_file(text, out / learn_meaning.CHECKPOINT)
    weights = {f"text.{n}": p for n, p in text.items()}
    weights |= {f"denoiser.{n}": p.detach() for n, p in pipe.unet.named_parameters()}
    weights |= {f"mean.{n}": p.clone() for n, p in weights.items()}
    scale = str(pipe.vae.config.scaling_factor)
    save_file(
        {n: p.contiguous() for n, p in weights.items()}, path, metadata=NOTHING | {"scale": scale}
    )
