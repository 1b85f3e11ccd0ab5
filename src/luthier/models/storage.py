"""An adaptation on disk: one readable file, and beside it what cannot be read.

luthier.yaml               base, prompt, decoding, lineage
soft_prompt.safetensors    virtual tokens
learned_embeds.safetensors  a learnt word: `load_textual_inversion` of diffusers opens it
adapter/                   a PEFT folder: PeftModel.from_pretrained(base, folder) opens it
weights/                   a fork: AutoModelForCausalLM.from_pretrained(folder) opens it, that of a
                           denoiser its class in diffusers
head.safetensors           a linear head on the base's states
knowledge/                 a copy of the index, where it is small
examples.txt               hashes of the examples that the fits could see, one a line
SHA256SUMS                 which files we wrote; a folder is replaced only while it holds just these
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from luthier.errors import LuthierError, ModelError, StorageError
from luthier.ledger.written_files import check_ours, replace_folder, write_sums
from luthier.models.adaptation import (
    Adaptation,
    Adapter,
    Decoding,
    Head,
    Placement,
    Pooling,
    ToolUse,
    VirtualTokens,
    Weights,
    word_token,
)
from luthier.models.prompt import Prompt
from luthier.models.rag.index_copy import open_knowledge, save_knowledge
from luthier.records import Capability, Lineage
from luthier.safety.plain_files import read_plain
from luthier.safety.plain_yaml import load_yaml
from luthier.safety.saved_parts import check_types, damaged, read_json_object, read_tensors
from luthier.serialization import from_plain, to_plain

if TYPE_CHECKING:
    from luthier.models.model import Model

T = TypeVar("T")
MOST_BYTES = 200_000_000  # of luthier.yaml, which may hold a pool of demonstrations
ADAPTATION_FILE = "luthier.yaml"
EXAMPLES_FILE = "examples.txt"
WORD_FILE = "learned_embeds.safetensors"
WEIGHTS_FILES = ("model.safetensors", "diffusion_pytorch_model.safetensors")
IN_FILE = ("in examples.txt",)  # stands for the hashes in luthier.yaml
FORMAT = 3
GUIDANCE_FORMAT = 3  # the first format in which a base's own guidance is None
FINGERPRINT_FORMAT = 2  # the first format in which a base has the fingerprint that it has today
# The C versions are ten times faster, which a pool of thousands of demonstrations feels.
DUMPER = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


def save(model: Model, folder: Path) -> Path:
    """Write the adaptation of `model` to `folder`: all of it or nothing (a rename at the end).

    StorageError where the folder holds what we did not write, or what was edited since.
    """
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            check_ours(folder, contents=False)  # before anything is computed
            _write(model, scratch)
            write_sums(scratch)
            replace_folder(scratch, folder)
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
    """Read back (adaptation, lineage, name of the base, fingerprint of the base).

    ModelError, with the file, for any part that is missing, damaged, or of another type.
    """
    path = folder / ADAPTATION_FILE
    record = _read_record(path)
    try:
        prompt = _checked(Prompt, record["prompt"], "prompt")
        decoding = _checked(Decoding, record["decoding"], "decoding")
        if record["format"] < GUIDANCE_FORMAT and decoding.guidance_scale == 1.0:
            decoding = replace(decoding, guidance_scale=None)  # how "none" was written
        base, fingerprint = record["base"], record["base_fingerprint"]
        check_types(base, str, "base")
        check_types(fingerprint, str, "base_fingerprint")
        lineage = record.get("lineage")
        lineage = _checked(Lineage, lineage, "lineage") if lineage else None
        if lineage is not None and (folder / EXAMPLES_FILE).is_file():
            hashes = read_plain(folder / EXAMPLES_FILE, most=MOST_BYTES).decode("utf-8").split()
            lineage = _with_examples(lineage, IN_FILE, tuple(hashes))
        placement = record.get("soft_prompt_placement", "before")
        soft_head = tuple(record.get("soft_prompt_head", ()))
        check_types(placement, Placement, "soft_prompt_placement")
        check_types(soft_head, tuple[int, ...], "soft_prompt_head")
        starts_with_bos = bool(record.get("adapter_opens", False))
        adapter_head = tuple(record.get("adapter_head", ()))
        check_types(adapter_head, tuple[int, ...], "adapter_head")
        knowledge = open_knowledge(record["knowledge"], folder) if record.get("knowledge") else None
        head = _open_head(folder, record["head"]) if record.get("head") else None
        tools = _checked(ToolUse, record["tools"], "tools") if record.get("tools") else None
        # What may change things without a question is the user's to say, and no file's.
        tools = None if tools is None else replace(tools, allow=())
    except LuthierError as error:
        if isinstance(error, (ModelError, StorageError)):
            raise
        raise damaged(path, error.problem) from error
    except (KeyError, TypeError, ValueError, AttributeError, OSError, RecursionError) as error:
        raise ModelError(
            f"{path} is not a saved adaptation ({type(error).__name__}: {error})",
            next_step="Save it again with Model.save.",
        ) from error
    soft = adapter = weights = None
    if (folder / "soft_prompt.safetensors").is_file():
        place = folder / "soft_prompt.safetensors"
        tokens = _floats(read_tensors(place, "tokens"), "tokens", 3, place)
        soft = VirtualTokens(tokens, placement, soft_head)
    if (folder / WORD_FILE).is_file():
        soft = _open_word(folder / WORD_FILE, record)
    if (folder / "adapter").is_dir():
        config = read_json_object(folder / "adapter" / "adapter_config.json")
        tensors = read_tensors(folder / "adapter" / "adapter_model.safetensors")
        adapter = Adapter(config, tensors, starts_with_bos, adapter_head)
    if (folder / "weights").is_dir():
        names = [n for n in WEIGHTS_FILES if (folder / "weights" / n).is_file()]
        weights = Weights(read_tensors(folder / "weights" / (names or WEIGHTS_FILES)[0]))
    adaptation = Adaptation(prompt, soft, adapter, weights, decoding, knowledge, head, tools)
    return adaptation, lineage, base, fingerprint


def _read_record(path: Path) -> dict[str, Any]:
    """The content of an adaptation file of a format that is known."""
    try:
        record = load_yaml(read_plain(path, most=MOST_BYTES).decode("utf-8"))
        check_types(record, dict, "it")
        check_types(record["format"], int, "format")
    except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise ModelError(
            f"{path} is not a saved adaptation ({type(error).__name__}: {error})",
            next_step="Save it again with Model.save.",
        ) from error
    if record["format"] > FORMAT:
        raise ModelError(
            f"{path} was written by a newer Luthier (format {record['format']}, "
            f"this one reads up to {FORMAT})",
            next_step="Upgrade Luthier.",
        )
    return dict(record)


def _checked(kind: type[T], value: Any, where: str) -> T:
    """A record of the adaptation file, with the types that it declares; TypeError otherwise."""
    record = from_plain(kind, value)
    check_types(record, kind, where)
    return record


def _floats(tensors: dict[str, Any], name: str, dimensions: int, path: Path) -> Any:
    """A tensor of floats with so many dimensions, none of them empty."""
    tensor = tensors[name]
    if not tensor.is_floating_point() or tensor.dim() != dimensions or tensor.numel() == 0:
        raise damaged(path, f"{name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}")
    return tensor


def _open_word(path: Path, record: dict[str, Any]) -> VirtualTokens:
    """A learnt word: one tensor (P, H) under the name of its token, and the word itself."""
    word = record.get("soft_prompt_word")
    try:
        check_types(word, str, "soft_prompt_word")
    except TypeError as error:
        raise damaged(path.parent / ADAPTATION_FILE, error) from error
    tensors = read_tensors(path)
    if len(tensors) != 1 or not word:
        raise damaged(path, f"it holds {len(tensors)} tensors for the word {word!r}")
    tokens = _floats(tensors, next(iter(tensors)), 2, path)
    return VirtualTokens(tokens.float().unsqueeze(0), "word", word=str(word))


def _open_head(folder: Path, facts: dict[str, Any]) -> Head:
    path = folder / "head.safetensors"
    tensors = read_tensors(path, "weight", "bias")
    weight, bias = _floats(tensors, "weight", 2, path), _floats(tensors, "bias", 1, path)
    check_types(facts["labels"], list, "head.labels")
    labels = tuple(str(label) for label in facts["labels"])
    if not len(labels) == len(bias) == len(weight):
        raise damaged(path, f"it is for {len(weight)} labels, and luthier.yaml names {len(labels)}")
    check_types(facts["layer"], int, "head.layer")
    check_types(facts["pooling"], Pooling, "head.pooling")
    return Head(weight, bias, labels, facts["layer"], facts["pooling"])


def has_old_fingerprint(folder: Path) -> bool:
    """Whether a folder was saved when bases had other fingerprints, which compare with none."""
    return int(_read_record(folder / ADAPTATION_FILE)["format"]) < FINGERPRINT_FORMAT


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
    if adaptation.tools is not None:
        record["tools"] = to_plain(adaptation.tools)
    if adaptation.head is not None:
        from safetensors.torch import save_file

        head = adaptation.head
        record["head"] = {"layer": head.layer, "pooling": head.pooling, "labels": list(head.labels)}
        tensors = {"weight": head.weight.contiguous(), "bias": head.bias.contiguous()}
        save_file(tensors, folder / "head.safetensors")
    if adaptation.soft_prompt is not None:
        from safetensors.torch import save_file

        record["soft_prompt_placement"] = adaptation.soft_prompt.placement
        if adaptation.soft_prompt.head:
            record["soft_prompt_head"] = list(adaptation.soft_prompt.head)
        tokens, word = adaptation.soft_prompt.tensor.contiguous(), adaptation.soft_prompt.word
        if word:
            record["soft_prompt_word"] = word
            save_file({word_token(word): tokens[0].contiguous()}, folder / WORD_FILE)
        else:
            save_file({"tokens": tokens}, folder / "soft_prompt.safetensors")
    if adaptation.adapter is not None:
        from safetensors.torch import save_file

        if adaptation.adapter.starts_with_bos:
            record["adapter_opens"] = True
        if adaptation.adapter.head:
            record["adapter_head"] = list(adaptation.adapter.head)
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
        if model.capabilities & {Capability.GRADIENTS, Capability.DENOISING}:
            model.backend.export_base(target)  # so that the fork opens anywhere
        tensors = {k: v.contiguous() for k, v in adaptation.weights.tensors.items()}
        save_file(tensors, target / model.backend.weights_file, metadata={"format": "pt"})
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
    embedded = name in ("nano", "nano-reader", "mini-scene")
    return str(Path(name).resolve()) if not embedded and Path(name).is_dir() else name
