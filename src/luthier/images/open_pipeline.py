"""Opening a pipeline: a folder that diffusers wrote, or a hub id. No code of a model is run, and no
weights are read but safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from luthier.errors import ModelError
from luthier.images.drawing import Defaults
from luthier.images.pipeline_call import call_arguments, defaults_of
from luthier.safety.plain_files import read_plain

INDEX_FILE = "model_index.json"
DEFAULTS_FILE = "drawing.json"  # steps and guidance scale that a folder is drawn with
LIBRARIES = ("diffusers", "transformers", "stable_diffusion")  # whose classes a folder may name
MOST_BYTES = 1_000_000


def is_pipeline_folder(folder: Path) -> bool:
    """Whether diffusers wrote this folder."""
    return (folder / INDEX_FILE).is_file()


def open_pipeline(path: str, *, name: str, device: str = "auto") -> tuple[Any, Defaults]:
    """The pipeline of a folder or a hub id, and how it is drawn with: float32 on a CPU, float16 on
    an accelerator.

    ModelError for what cannot be opened, needs code of its own, or draws from no words.
    """
    diffusers, torch = _libraries()
    folder = Path(path)
    if folder.is_dir():
        _check_index(folder)
    target = _device(torch, device)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    try:
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            path,
            dtype=torch.float32 if target.type == "cpu" else torch.float16,
            use_safetensors=True,
            trust_remote_code=False,
        ).to(target)
    except (OSError, ValueError, KeyError, ImportError, AttributeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise ModelError(
            f"Could not open the picture model {name!r}: {reason}",
            choices=("mini-scene", "a folder that diffusers wrote", "org/name from the hub"),
            next_step="Its weights must be safetensors: pipeline.save_pretrained(folder).",
        ) from error
    except Exception as error:  # what safetensors raises has no base of its own
        if type(error).__name__ != "SafetensorError":
            raise
        raise ModelError(
            f"The weights of {name!r} cannot be read: {error}",
            next_step="A file was cut short or damaged: copy or download it again.",
        ) from error
    if "prompt" not in call_arguments(pipeline) or "image" in call_arguments(pipeline):
        raise ModelError(
            f"{name!r} is a {type(pipeline).__name__}, which does not draw from words alone",
            next_step="Give a text-to-image pipeline, such as Stable Diffusion.",
        )
    pipeline.set_progress_bar_config(disable=True)
    if target.type == "cpu":
        _arrange(torch, pipeline)
    return pipeline, _defaults(folder, defaults_of(pipeline))


def _libraries() -> tuple[Any, Any]:
    try:
        import transformers

        # Said before diffusers loads: both log every step to stderr.
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        import diffusers
        import torch
    except ImportError as error:
        raise ModelError(
            f"Drawing needs the library diffusers, which is not installed ({error})",
            next_step="Install it: pip install 'luthier[images]'.",
        ) from error
    return diffusers, torch


def _check_index(folder: Path) -> None:
    """ModelError where the index of a folder is damaged or names code that diffusers lacks."""
    import diffusers

    try:
        index = json.loads(read_plain(folder / INDEX_FILE, most=MOST_BYTES))
        kind = index["_class_name"]
        parts = {k: v for k, v in index.items() if isinstance(v, list)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{folder / INDEX_FILE} is no index of a pipeline ({type(error).__name__}: {error})",
            next_step="Save the pipeline again: pipeline.save_pretrained(folder).",
        ) from error
    known = isinstance(kind, str) and hasattr(diffusers, kind)
    strange = {v[0] for v in parts.values() if v and v[0] is not None} - set(LIBRARIES)
    if not known or strange:
        what = f"the class {kind!r}" if not known else f"parts from {', '.join(strange)}"
        raise ModelError(
            f"{folder} names {what}, which diffusers {diffusers.__version__} does not have; the "
            "code of a model is never run",
            next_step="Upgrade diffusers, or use another model.",
        )
    weights = [*folder.rglob("*.safetensors")]
    if not weights:
        raise ModelError(
            f"{folder} has no weights in safetensors format",
            next_step="Convert them: pipeline.save_pretrained(folder, safe_serialization=True).",
        )


def _device(torch: Any, name: str) -> Any:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _arrange(torch: Any, pipeline: Any) -> None:
    """Lay the weights of convolutions out as a CPU reads them fastest. The values stay."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(memory_format=torch.channels_last).requires_grad_(False)


def _defaults(folder: Path, own: Defaults) -> Defaults:
    """The defaults of a pipeline, replaced by those in its folder's `drawing.json`."""
    path = folder / DEFAULTS_FILE
    if not path.is_file():
        return own
    try:
        said = json.loads(read_plain(path, most=MOST_BYTES))
        steps = int(said.get("steps", own.steps))
        guidance = float(said.get("guidance_scale", own.guidance_scale))
        if not (1 <= steps <= 1000 and 0 <= guidance < float("inf")):
            raise ValueError(f"steps {steps}, guidance_scale {guidance}")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} cannot be used ({error})",
            next_step='It looks like {"steps": 12, "guidance_scale": 4.0}.',
        ) from error
    return Defaults(steps, guidance, own.size)
