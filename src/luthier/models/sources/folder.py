"""An adaptation on disk: one readable file, and beside it what cannot be read.

luthier.yaml               base, prompt, decoding, lineage
soft_prompt.safetensors    virtual tokens
adapter/                   a PEFT folder: PeftModel.from_pretrained(base, folder) opens it
weights/                   a fork: AutoModelForCausalLM.from_pretrained(folder) opens it
knowledge/                 a copy of the index, where it is small
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from luthier.errors import ModelError, StorageError
from luthier.models.adaptation import Adaptation, Adapter, Decoding, VirtualTokens, Weights
from luthier.models.knowledge.keeping import keep, reopen
from luthier.models.prompt import Demonstration, Prompt, PromptFormat
from luthier.records import FitRecord, Lineage

if TYPE_CHECKING:
    from luthier.models.model import Model

ADAPTATION_FILE = "luthier.yaml"
FORMAT = 1
# The C versions are ten times faster, which a pool of thousands of demonstrations feels.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


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
        prompt = _prompt_from(record["prompt"])
        decoding = _decoding_from(record["decoding"])
        base, fingerprint = record["base"], record["base_fingerprint"]
        lineage = lineage_from(record["lineage"]) if record.get("lineage") else None
        placement = record.get("soft_prompt_placement", "before")
        opens = bool(record.get("adapter_opens", False))
        knowledge = reopen(record["knowledge"], folder) if record.get("knowledge") else None
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
            opens,
        )
    if (folder / "weights").is_dir():
        from safetensors.torch import load_file

        weights = Weights(load_file(folder / "weights" / "model.safetensors"))
    adaptation = Adaptation(prompt, soft, adapter, weights, decoding, knowledge)
    return adaptation, lineage, base, fingerprint


def _write(model: Model, folder: Path) -> None:
    adaptation = model.adaptation
    record: dict[str, Any] = {
        "format": FORMAT,
        "base": _base_name(model.backend.name),
        "base_fingerprint": model.backend.fingerprint,
        "prompt": plain(adaptation.prompt),
        "decoding": plain(adaptation.decoding),
        "lineage": plain(model.lineage) if model.lineage else None,
    }
    if adaptation.knowledge is not None:
        record["knowledge"] = plain(keep(adaptation.knowledge, folder))
    if adaptation.soft_prompt is not None:
        from safetensors.torch import save_file

        record["soft_prompt_placement"] = adaptation.soft_prompt.placement
        tokens = adaptation.soft_prompt.tensor.contiguous()
        save_file({"tokens": tokens}, folder / "soft_prompt.safetensors")
    if adaptation.adapter is not None:
        from safetensors.torch import save_file

        if adaptation.adapter.opens:
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
        write_shell = getattr(model.backend, "write_shell", None)
        if write_shell is not None:
            write_shell(target)  # config and tokenizer, so that the fork opens anywhere
        tensors = {k: v.contiguous() for k, v in adaptation.weights.tensors.items()}
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    text = yaml.dump(record, Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=100)
    (folder / ADAPTATION_FILE).write_text(text, "utf-8")


def _base_name(name: str) -> str:
    """A folder is stored with its whole path, so that the adaptation opens from anywhere."""
    embedded = name in ("nano", "nano-reader")
    return str(Path(name).resolve()) if not embedded and Path(name).is_dir() else name


def plain(value: Any) -> Any:
    """Frozen records as plain dicts, lists and scalars, for YAML and JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def _prompt_from(record: Mapping[str, Any]) -> Prompt:
    fields = dict(record)
    fields["format"] = PromptFormat(**fields["format"])
    fields["demonstrations"] = tuple(Demonstration(**d) for d in fields["demonstrations"])
    fields["labels"] = tuple(fields["labels"])
    fields["label_descriptions"] = tuple((a, b) for a, b in fields["label_descriptions"])
    return Prompt(**fields)


def _decoding_from(record: Mapping[str, Any]) -> Decoding:
    fields = dict(record)
    fields["labels"] = tuple(fields["labels"])
    fields["label_bias"] = tuple((a, float(b)) for a, b in fields["label_bias"])
    fields["stop"] = tuple(fields["stop"])
    return Decoding(**fields)


def lineage_from(record: Mapping[str, Any]) -> Lineage:
    """Rebuild a lineage, with its parents, from its plain form."""
    fit = dict(record.get("fit") or {})
    fit["history"] = tuple(fit.get("history", ()))
    fit["notes"] = tuple(fit.get("notes", ()))
    parent = record.get("parent")
    return Lineage(
        technique=record["technique"],
        settings=record["settings"],
        seed=record["seed"],
        fit=FitRecord(**fit),
        parent=lineage_from(parent) if parent else None,
    )
