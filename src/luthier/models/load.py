"""From a name to a model: embedded, a hub id, a folder, a URL, "fake", a saved adaptation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from luthier import registry
from luthier.errors import ModelError, did_you_mean
from luthier.models.adaptation import Adaptation
from luthier.models.backend import Backend
from luthier.models.model import Model
from luthier.safety.hosts import check_host, name_host
from luthier.safety.saved_parts import damaged

EMBEDDED = {name: Path(__file__).parent / name for name in ("nano", "nano-reader")}
EMBEDDED["mini-scene"] = Path(__file__).parents[1] / "images" / "mini-scene"  # draws pictures
PIPELINE_FILE = "model_index.json"  # what diffusers writes beside a pipeline's parts


def load(
    name: str | Path,
    *,
    base: str | None = None,
    device: str = "auto",
    opener: Callable[[str], Backend] | None = None,
) -> Model:
    """Open a model.

    `name` is "nano", "nano-reader" or "mini-scene" (these ship with Luthier; the last one draws),
    "fake" (no weights, for tests), a folder with a Hugging Face checkpoint or a pipeline of
    diffusers, a hub id such as "org/name", the URL of an
    OpenAI-compatible server ("http://host:8000/v1#model-name"), or a folder written by
    `Model.save`; then `base` overrides the base it was saved with. `device` is "auto", "cpu",
    "cuda", ... `opener` opens the base in place of `open_backend`, so that models may share one.

    Raises ModelError with the choices when nothing of that name can be opened.
    """
    from luthier.models.storage import ADAPTATION_FILE, has_old_fingerprint, open_adaptation

    folder = Path(name)
    opener = opener or partial(open_backend, device=device)
    if (folder / ADAPTATION_FILE).is_file():
        adaptation, lineage, base_name, fingerprint = open_adaptation(folder)
        if base is None:
            check_host(
                base_name,
                found_in=str(folder / ADAPTATION_FILE),
                next_step=f"If you trust that server, name it: --base {base_name}, or load(…, "
                f"base={base_name!r})",
            )
        else:
            name_host(base)
        try:
            backend = opener(base or base_name)
        except ModelError as error:
            if base is not None:
                raise
            raise ModelError(
                f"{folder} was fitted on {base_name!r}, which cannot be opened here: "
                f"{error.problem}",
                next_step="Say where its base is: luthier ask --base, or load(…, base=…).",
            ) from error
        if base is None and backend.fingerprint != fingerprint:
            if has_old_fingerprint(folder):
                raise ModelError(
                    f"{folder} was saved by an earlier version of Luthier, and whether its base is "
                    f"the {base_name!r} of today cannot be told",
                    next_step=f"If it is, say so: --base {base_name}, or load(…, "
                    f"base={base_name!r}). Saved again, it opens without.",
                )
            raise ModelError(
                f"{folder} was fitted on another version of {base_name!r}: "
                f"its fingerprint was {fingerprint[:12]}, now it is {backend.fingerprint[:12]}",
                next_step="Fit again; --base, or load(…, base=…), uses it all the same.",
            )
        _check_fits(adaptation, backend, folder)
        return Model(backend, adaptation, lineage)
    name_host(str(name))
    return Model(opener(str(name)))


def _check_fits(adaptation: Adaptation, backend: Backend, folder: Path) -> None:
    """ModelError where the sizes of saved tensors are not those of the base."""
    width, layers = backend.facts.hidden_size, backend.facts.layers
    soft, head = adaptation.soft_prompt, adaptation.head
    if soft is not None and width is not None and soft.tensor.shape[-1] != width:
        raise damaged(
            folder / "soft_prompt.safetensors",
            f"its virtual tokens have a width of {soft.tensor.shape[-1]}, and {backend.name!r} has "
            f"{width}",
        )
    if head is not None and not 0 <= head.layer <= (head.layer if layers is None else layers):
        raise damaged(folder / "luthier.yaml", f"{backend.name!r} has no layer {head.layer}")


def open_backend(name: str, *, device: str = "auto") -> Backend:
    """The backend for the name of a base.

    An address is opened by the registered backend whose name or scheme it begins with ("fake",
    "http://…", a plugin's "lookup:rules.yaml"), a pipeline of diffusers by that of pictures, any
    other folder or hub id by the local one.
    """
    check_name(name)
    addressed = None if name in EMBEDDED else registry.addressed("backends", name)
    backend: Backend
    if addressed is not None:
        backend = registry.get("backends", addressed).open(name, device=device)
        return backend
    path = str(EMBEDDED.get(name, name))
    kind = "pictures" if is_pipeline(path) else "local"
    backend = registry.get("backends", kind).open(path, name=name, device=device)
    return backend


def is_pipeline(path: str) -> bool:
    """Whether a folder or a hub id is a pipeline of diffusers, which draws."""
    if Path(path).exists():
        return (Path(path) / PIPELINE_FILE).is_file()
    from luthier.models.hub import holds

    return holds(path, PIPELINE_FILE)


def check_name(name: str | Path) -> None:
    """ModelError, before weights load, for what cannot be the name of a model."""
    from luthier.models.storage import ADAPTATION_FILE

    name = str(name)
    if name not in EMBEDDED and (
        registry.addressed("backends", name) is not None or (Path(name) / ADAPTATION_FILE).is_file()
    ):
        return
    path = str(EMBEDDED.get(name, name))
    if name in EMBEDDED and not Path(path).exists():
        raise ModelError(
            f"{name!r} is not installed: {path} is not there",
            choices=[other for other, place in EMBEDDED.items() if place.exists()],
            next_step="Install Luthier again, or give another model.",
        )
    if Path(path).exists():
        check_folder(Path(path))
    elif name.count("/") == 1 and not name.startswith((".", "/", "~")):
        from luthier.models.hub import check_reachable

        check_reachable(name)
    else:
        plugins = [f"{plugin}:…" for plugin in registry.plugin_names("backends")]
        raise ModelError(
            f"No model {name!r}: not a folder, and not the form of a hub id",
            choices=(
                *EMBEDDED, "a folder with config.json or model_index.json", "org/name", "http(s)://…/v1#model",
                *plugins,
            ),
            next_step=did_you_mean(name, EMBEDDED) or "Check the spelling of the path.",
        )  # fmt: skip


def check_folder(folder: Path) -> None:
    """ModelError, before weights load, when a folder cannot be a checkpoint."""
    gguf = [folder] if folder.is_file() else sorted(folder.glob("*.gguf"))
    if gguf and gguf[0].suffix.lower() == ".gguf":
        raise ModelError(
            f"{gguf[0]} is a GGUF file, whose quantised weights cannot be tuned here",
            choices=("a folder with config.json and safetensors", "http(s)://…/v1#model"),
            next_step="Give the checkpoint it was made from; or serve it, for instance with "
            "llama.cpp's llama-server, and give the address: prompts can be compared there.",
        )
    if folder.is_file():
        raise ModelError(
            f"{folder} is a file, and a model is a folder with config.json",
            next_step=f"Give the folder it is in: {folder.parent}",
        )
    if (folder / PIPELINE_FILE).is_file():
        return  # what a pipeline lacks its own opener says
    if not (folder / "config.json").is_file():
        inside = sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else []
        raise ModelError(
            f"{folder} holds no config.json (and no model_index.json), so it is no Hugging Face "
            "checkpoint "
            f"(it holds {', '.join(inside) or 'nothing'})",
            next_step="Save the model with save_pretrained, or give the folder one level deeper.",
        )
    names = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
    if not any((folder / n).is_file() for n in names):
        raise ModelError(
            f"{folder} has a model and no tokenizer",
            choices=names,
            next_step="Save it there too: tokenizer.save_pretrained(folder).",
        )
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")]
    if not weights:
        raise ModelError(
            f"{folder} has no weights in safetensors format",
            next_step="Convert them: model.save_pretrained(folder).",
        )
