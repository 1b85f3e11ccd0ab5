"""`luthier ask` of a model that draws: what must not be seen, and where the picture goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.errors import CapabilityError, StorageError, UserError

if TYPE_CHECKING:
    from luthier.content import Response
    from luthier.models.model import Model

SUFFIX = ".png"


def prepared(model: Model, *, out: Path | None, negative: str | None) -> Model:
    """The model with a negative prompt in place of its own, where one is given.

    Before anything is drawn: CapabilityError for a model of text, UserError for a file that is no
    PNG or stands there already and is none.
    """
    from luthier.models.drawing_prompt import draws

    if not draws(model):
        option = "--out" if out is not None else "--negative"
        raise CapabilityError(
            f"{model.backend.name} answers with text, and {option} is for models that draw",
            choices=("mini-scene", "a folder that diffusers wrote", "org/name from the hub"),
            next_step=f"Leave {option} out, or give a model that draws.",
        )
    if out is not None and out.suffix.lower() != SUFFIX:
        raise UserError(
            f"--out {out} is no name of a PNG", next_step=f"Let it end in {SUFFIX}: picture.png"
        )
    if out is not None and out.exists():
        _check_replaceable(out)
    if negative is None:
        return model
    if negative.strip() and not model.backend.facts.leads_away:
        raise CapabilityError(
            f"The guidance of {model.backend.name} is part of its weights, and a negative prompt "
            "changes nothing",
            next_step="Leave --negative out, or use a model with an unconditional branch.",
        )
    return model.adapt(prompt=replace(model.adaptation.prompt, negative=negative))


def written(response: Response, out: Path) -> Response:
    """The response with its picture copied to `out`, and that path as its text.

    StorageError where it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(Path(response.prediction).read_bytes())
    except OSError as error:
        raise StorageError(
            f"Could not write {out}: {error.strerror or error}",
            next_step="Give another file with --out, or free some space.",
        ) from error
    return replace(response, text=str(out), parsed=str(out))


def _check_replaceable(out: Path) -> None:
    """UserError where something other than a PNG stands at the place of the picture."""
    with_png = out.is_file() and out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    if not with_png:
        raise UserError(
            f"{out} is to be replaced by the picture, and it is no PNG",
            next_step="Nothing was touched. Give another file with --out.",
        )
