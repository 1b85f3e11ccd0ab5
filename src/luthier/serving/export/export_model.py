"""An export from beginning to end: checked, written, scored again, with its card."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.compare.comparison import Comparison, TechniqueResult
from luthier.errors import UserError
from luthier.models.model import Model
from luthier.records import Example, SampleScore
from luthier.serving.endpoint_check import tie_nats
from luthier.serving.export.export_targets import TARGETS, check_target
from luthier.serving.export.gguf_file import write_gguf
from luthier.serving.export.llama_rescoring import PACKAGE, llama_place, rescore_gguf
from luthier.serving.export.merged_model import write_merged
from luthier.serving.export.model_card import CardFacts, write_card
from luthier.serving.export.ollama_folder import write_ollama
from luthier.serving.export.peft_folder import base_place, write_peft
from luthier.serving.export.plain_rescoring import PlainScorer, Rescored, rescore
from luthier.serving.export.vllm_folder import write_vllm


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote. `rescored` is None where nothing could answer again, and `words` say
    with what it was, or why not."""

    folder: Path
    target: str
    rescored: Rescored | None
    words: str


def export_model(
    model: Model,
    target: str,
    out: Path,
    *,
    samples: Sequence[SampleScore] = (),
    comparison: Comparison | None = None,
    result: TechniqueResult | None = None,
) -> Exported:
    """Write a model for another program into the folder `out`, and answer `samples` with what was
    written. UserError for an unknown target or a folder in use, CapabilityError for what the target
    cannot carry, all before anything is written.
    """
    if target not in TARGETS:
        raise UserError(f"there is no export target {target!r}", choices=TARGETS)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} exists already", next_step="Name a new folder.")
    check_target(model, target)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
    try:
        how = written(model, target, scratch)
        ties = 0.0 if comparison is None else tie_nats(comparison)
        rescored, words = rescored_in(model, target, scratch, samples, ties)
        facts = CardFacts(model, target, how, comparison, result, rescored, words)
        write_card(scratch, facts)
        if out.exists():
            out.rmdir()
        os.replace(scratch, out)
        out.chmod(0o755)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Exported(out, target, rescored, words)


def written(model: Model, target: str, folder: Path) -> str:
    """Write the files of a target, and return how they are used."""
    if target == "merged":
        write_merged(model, folder)
        return 'AutoModelForCausalLM.from_pretrained("FOLDER")'
    if target == "peft":
        write_peft(model, folder)
        return f'PeftModel.from_pretrained(base, "FOLDER")  # base: {base_place(model)}'
    if target == "gguf":
        write_gguf(model, folder / "model.gguf")
        return "llama-server -m model.gguf"
    if target == "ollama":
        return write_ollama(model, folder)
    return write_vllm(model, folder)


def rescored_in(
    model: Model, target: str, folder: Path, samples: Sequence[SampleScore], ties: float
) -> tuple[Rescored | None, str]:
    """The samples answered with the files in a folder, and with what."""
    if not samples:
        return None, "there is no run with test answers beside it"
    examples = [Example(id=s.example_id, input=s.input, target="") for s in samples]
    wanted = [s.prediction for s in samples]
    if target in ("gguf", "ollama"):
        if llama_place() is None:
            return None, f"llama.cpp is not here: npm install {PACKAGE}, and run it again"
        path = folder / "model.gguf"
        again = rescore_gguf(model, examples, wanted, path=path, tie_nats=ties)
        return again, "llama.cpp (node-llama-cpp)"
    if target == "merged" or (folder / "model").is_dir():
        place = folder / "model" if (folder / "model").is_dir() else folder
        scorer, words = PlainScorer.of_merged(place, model), "plain Transformers"
    else:
        place = folder / "adapter" if (folder / "adapter").is_dir() else folder
        scorer, words = PlainScorer.of_peft(place, base_place(model), model), "plain PEFT"
    if target == "vllm":
        words += ", in place of vLLM"
    again = rescore(
        model, examples, wanted, score=scorer.score, generate=scorer.generate, tie_nats=ties
    )
    return again, words
