"""An adaptation on disk: one readable file, and beside it what cannot be read.

luthier.yaml               base, prompt, decoding, lineage
soft_prompt.safetensors    virtual tokens
adapter/                   a PEFT folder: PeftModel.from_pretrained(base, folder) opens it
weights/                   a fork: AutoModelForCausalLM.from_pretrained(folder) opens it
head.safetensors           a linear head on the base's states
knowledge/                 a copy of the index, where it is small
examples.txt               hashes of the examples that the fits could see, one a line
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from luthier.errors import ModelError, StorageError
from luthier.models.adaptation import Adaptation, Adapter, Decoding, Head, VirtualTokens, Weights
from luthier.models.prompt import Prompt
from luthier.models.rag.index_copy import open_knowledge, save_knowledge
from luthier.records import Capability, Lineage
from luthier.serialization import from_plain, to_plain

if TYPE_CHECKING:
    from luthier.models.model import Model

ADAPTATION_FILE = "luthier.yaml"
EXAMPLES_FILE = "examples.txt"
IN_FILE = ("in examples.txt",)  # stands for the hashes in luthier.yaml
FORMAT = 2
FINGERPRINT_FORMAT = 2  # the first format in which a base has the fingerprint that it has today
# The C versions are ten times faster, which a pool of thousands of demonstrations feels.
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
DUMPER = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


def save(model: Model, folder: Path) -> Path:
    """Write the adaptation of `model` to `folder`: all of it or nothing (a rename at the end)."""
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(model, scratch)
            if folder.exists():
                if any(folder.iterdir()) and not (folder / ADAPTATION_FILE).is_file():
                    raise StorageError(
                        f"{folder} holds something that is no saved adaptation",
                        next_step="Choose another folder.",
                    )
                shutil.rmtree(folder)
            os.replace(scratch, folder)
            folder.chmod(0o755)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"Could not write {folder}: {error.strerror or error}",
            next_step="Free some space or choose another folder; nothing half-written stayed.",
        ) from error
    return folder


def open_adaptation(folder: Path) -> tuple[Adaptation, Lineage | None, str, str]:
    """Read back (adaptation, lineage, name of the base, fingerprint of the base)."""
    path = folder / ADAPTATION_FILE
    try:
        record = yaml.load(path.read_text("utf-8"), Loader=LOADER)  # a safe one
        if record["format"] > FORMAT:
            raise ModelError(
                f"{path} was written by a newer Luthier (format {record['format']}, "
                f"this one reads up to {FORMAT})",
                next_step="Upgrade Luthier.",
            )
        prompt = from_plain(Prompt, record["prompt"])
        decoding = from_plain(Decoding, record["decoding"])
        base, fingerprint = record["base"], record["base_fingerprint"]
        lineage = from_plain(Lineage, record["lineage"]) if record.get("lineage") else None
        if lineage is not None and (folder / EXAMPLES_FILE).is_file():
            hashes = (folder / EXAMPLES_FILE).read_text("utf-8").split()
            lineage = _with_examples(lineage, IN_FILE, tuple(hashes))
        placement = record.get("soft_prompt_placement", "before")
        starts_with_bos = bool(record.get("adapter_opens", False))
        knowledge = open_knowledge(record["knowledge"], folder) if record.get("knowledge") else None
        head_facts = record.get("head")
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ModelError(
            f"{path} is not a saved adaptation ({type(error).__name__}: {error})",
            next_step="Save it again with Model.save.",
        ) from error
    soft = adapter = weights = None
    if (folder / "soft_prompt.safetensors").is_file():
        from safetensors.torch import load_file

        soft = VirtualTokens(load_file(folder / "soft_prompt.safetensors")["tokens"], placement)
    if (folder / "adapter").is_dir():
        from safetensors.torch import load_file

        adapter = Adapter(
            json.loads((folder / "adapter" / "adapter_config.json").read_text("utf-8")),
            load_file(folder / "adapter" / "adapter_model.safetensors"),
            starts_with_bos,
        )
    if (folder / "weights").is_dir():
        from safetensors.torch import load_file

        weights = Weights(load_file(folder / "weights" / "model.safetensors"))
    head = None if head_facts is None else _open_head(folder, head_facts)
    adaptation = Adaptation(prompt, soft, adapter, weights, decoding, knowledge, head)
    return adaptation, lineage, base, fingerprint


def _open_head(folder: Path, facts: dict[str, Any]) -> Head:
    from safetensors.torch import load_file

    tensors = load_file(folder / "head.safetensors")
    labels = tuple(str(label) for label in facts["labels"])
    return Head(tensors["weight"], tensors["bias"], labels, int(facts["layer"]), facts["pooling"])


def has_old_fingerprint(folder: Path) -> bool:
    """Whether a folder was saved when bases had other fingerprints, which compare with none."""
    record = yaml.load((folder / ADAPTATION_FILE).read_text("utf-8"), Loader=LOADER)
    return int(record["format"]) < FINGERPRINT_FORMAT


def _write(model: Model, folder: Path) -> None:
    adaptation = model.adaptation
    record: dict[str, Any] = {
        "format": FORMAT,
        "base": _base_name(model.backend.name),
        "base_fingerprint": model.backend.fingerprint,
        "prompt": to_plain(adaptation.prompt),
        "decoding": to_plain(adaptation.decoding),
        "lineage": None,
    }
    if model.lineage is not None:
        met = tuple(sorted(model.lineage.met))
        record["lineage"] = to_plain(_with_examples(model.lineage, met, IN_FILE))
        if met:
            (folder / EXAMPLES_FILE).write_text("\n".join(met) + "\n", "utf-8")
    if adaptation.knowledge is not None:
        record["knowledge"] = save_knowledge(adaptation.knowledge, folder)
    if adaptation.head is not None:
        from safetensors.torch import save_file

        head = adaptation.head
        record["head"] = {"layer": head.layer, "pooling": head.pooling, "labels": list(head.labels)}
        tensors = {"weight": head.weight.contiguous(), "bias": head.bias.contiguous()}
        save_file(tensors, folder / "head.safetensors")
    if adaptation.soft_prompt is not None:
        from safetensors.torch import save_file

        record["soft_prompt_placement"] = adaptation.soft_prompt.placement
        tokens = adaptation.soft_prompt.tensor.contiguous()
        save_file({"tokens": tokens}, folder / "soft_prompt.safetensors")
    if adaptation.adapter is not None:
        from safetensors.torch import save_file

        if adaptation.adapter.starts_with_bos:
            record["adapter_opens"] = True
        target = folder / "adapter"
        target.mkdir()
        config = {**adaptation.adapter.config, "base_model_name_or_path": record["base"]}
        (target / "adapter_config.json").write_text(json.dumps(config, indent=2), "utf-8")
        tensors = {k: v.contiguous() for k, v in adaptation.adapter.tensors.items()}
        save_file(tensors, target / "adapter_model.safetensors", metadata={"format": "pt"})
    if adaptation.weights is not None:
        from safetensors.torch import save_file

        target = folder / "weights"
        target.mkdir()
        if Capability.GRADIENTS in model.capabilities:
            model.backend.export_base(target)  # so that the fork opens anywhere
        tensors = {k: v.contiguous() for k, v in adaptation.weights.tensors.items()}
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    text = yaml.dump(record, Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=100)
    (folder / ADAPTATION_FILE).write_text(text, "utf-8")


def _with_examples(lineage: Lineage, known: tuple[str, ...], new: tuple[str, ...]) -> Lineage:
    """The same with `new` in place of the hashes `known`, in all that came before it too: the
    fits of a recipe see the same examples, and a file of their own holds them once."""
    parent = lineage.parent
    return replace(
        lineage,
        examples=new if lineage.examples and lineage.examples == known else lineage.examples,
        parent=None if parent is None else _with_examples(parent, known, new),
    )


def _base_name(name: str) -> str:
    """A folder is stored with its whole path, so that the adaptation opens from anywhere."""
    embedded = name in ("nano", "nano-reader")
    return str(Path(name).resolve()) if not embedded and Path(name).is_dir() else name
