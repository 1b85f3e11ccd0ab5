"""How to use the pick: the command, the program, and what opens its folder without Luthier."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from luthier.compare.comparison import Comparison
from luthier.models.storage import ADAPTATION_FILE
from luthier.records import Kind


@dataclass(frozen=True, slots=True)
class HowToUse:
    """`ask` is a command and `python` a program. `folder_words` says in a sentence what the pick's
    folder is, `parts` what files are in it and what opens them."""

    folder_words: str
    ask: str
    python: str
    parts: tuple[str, ...]


def how_to_use(comparison: Comparison) -> HowToUse | None:
    """How to use the pick, refitted where it was; None where there is no pick or its folder is
    missing."""
    pick, refit = comparison.verdict.pick, comparison.refit
    path = next((r.path for r in comparison.results if r.technique == pick), None)
    if refit is not None and refit.path is not None and Path(refit.path).is_dir():
        path = refit.path
    if pick is None or path is None or not Path(path).is_dir():
        return None
    beside = "the base and its index" if _index_outside(Path(path)) else "the base"
    to_file = " --out picture.png" if comparison.task.kind == str(Kind.IMAGE) else ""
    return HowToUse(
        folder_words=f"{path} holds everything but {beside}: copy it to where it is needed.",
        ask=f'luthier ask {shlex.quote(path)} "…"{to_file}',
        python=f'import luthier\n\nmodel = luthier.load({path!r})\nprint(model.ask("…"))',
        parts=_parts(Path(path), bool(comparison.task.labels)),
    )


def _index_outside(folder: Path) -> bool:
    """Whether passages are looked up in an index that was too large to copy into the folder."""
    record = folder / ADAPTATION_FILE
    if (folder / "knowledge").is_dir() or not record.is_file():
        return False
    return "\nknowledge:" in record.read_text("utf-8")


def _parts(folder: Path, labels: bool) -> tuple[str, ...]:
    sentences = ["`luthier.yaml` holds the base's name, the prompt and the decoding, to be read."]
    if (folder / "soft_prompt.safetensors").is_file():
        sentences.append(
            "`soft_prompt.safetensors` holds the virtual tokens, rows of the input embeddings."
        )
    if (folder / "head.safetensors").is_file():
        sentences.append(
            "`head.safetensors` holds a linear classifier, weight and bias, on the states of the "
            "layer that `luthier.yaml` names."
        )
    if (folder / "adapter").is_dir():
        sentences.append("`adapter/` opens with PEFT: `PeftModel.from_pretrained(base, folder)`.")
    if (folder / "learned_embeds.safetensors").is_file():
        sentences.append(
            "`learned_embeds.safetensors` holds a learnt word: `load_textual_inversion` of a "
            "pipeline reads it."
        )
    if (folder / "weights" / "diffusion_pytorch_model.safetensors").is_file():
        sentences.append("`weights/` is a denoiser: its class in diffusers opens the folder.")
    elif (folder / "weights").is_dir():
        sentences.append(
            "`weights/` opens with Transformers: `AutoModelForCausalLM.from_pretrained(folder)`, "
            "or AutoModelForSeq2SeqLM for an encoder–decoder."
        )
    if (folder / "knowledge").is_dir():
        sentences.append("`knowledge/` is the index that answers are looked up in.")
    if labels:
        sentences.append(
            "Luthier takes the likeliest of the labels. A server that generates freely has to be "
            "constrained to the labels, or stopped at the end of one: nothing else stops it there."
        )
    return tuple(sentences)
