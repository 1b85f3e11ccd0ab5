"""From a name to a model: embedded, a hub id, a folder, a URL, "fake", a saved adaptation."""

from __future__ import annotations

from pathlib import Path

from luthier import registry
from luthier.errors import ModelError
from luthier.models.backend import Backend
from luthier.models.model import Model

EMBEDDED = {name: Path(__file__).parent / name for name in ("nano", "nano-reader")}


def load(name: str | Path, *, base: str | None = None, device: str = "auto") -> Model:
    """Open a model.

    `name` is "nano" or "nano-reader" (these ship with Luthier), "fake" (no weights, for tests), a
    folder with a Hugging Face checkpoint, a hub id such as "org/name", the URL of an
    OpenAI-compatible server ("http://host:8000/v1#model-name"), or a folder written by
    `Model.save`; then `base` overrides the base it was saved with. `device` is "auto", "cpu",
    "cuda", ...

    Raises ModelError with the choices when nothing of that name can be opened.
    """
    from luthier.models.storage import ADAPTATION_FILE, has_old_fingerprint, open_adaptation

    folder = Path(name)
    if (folder / ADAPTATION_FILE).is_file():
        adaptation, lineage, base_name, fingerprint = open_adaptation(folder)
        try:
            backend = open_backend(base or base_name, device=device)
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
        return Model(backend, adaptation, lineage)
    return Model(open_backend(str(name), device=device))


def open_backend(name: str, *, device: str = "auto") -> Backend:
    """The backend for the name of a base.

    An address is opened by the registered backend whose name or scheme it begins with ("fake",
    "http://…", a plugin's "lookup:rules.yaml"), a folder or a hub id by the local one.
    """
    addressed = None if name in EMBEDDED else registry.addressed("backends", name)
    backend: Backend
    if addressed is not None:
        backend = registry.get("backends", addressed).open(name, device=device)
        return backend
    path = str(EMBEDDED.get(name, name))
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
                *EMBEDDED, "a folder with config.json", "org/name", "http(s)://…/v1#model",
                *plugins,
            ),
            next_step="Check the spelling of the path.",
        )  # fmt: skip
    backend = registry.get("backends", "local").open(path, name=name, device=device)
    return backend


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
    if not (folder / "config.json").is_file():
        inside = sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else []
        raise ModelError(
            f"{folder} holds no config.json, so it is no Hugging Face checkpoint "
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
