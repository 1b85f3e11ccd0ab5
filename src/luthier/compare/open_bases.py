"""From what a user named to the bases of a comparison: checked before anything heavy loads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.compare.bases import Base, OpenBases
from luthier.compare.running.run_keys import model_identity, slug
from luthier.compare.subject import BaseFacts
from luthier.errors import UserError
from luthier.models.load import EMBEDDED, check_name, load
from luthier.models.model import Model

if TYPE_CHECKING:
    from luthier.techniques.base import Technique

Named = str | Path | Model


def parse_models(models: Named | Sequence[Named]) -> tuple[Named, ...]:
    """The models that are meant: names separated by commas, or a sequence of names and models.

    UserError for an empty name and for one that stands there twice; ModelError, before any weights
    load, for one that cannot be opened.
    """
    if isinstance(models, str) and not Path(models).exists():
        parts: tuple[Named, ...] = tuple(part.strip() for part in models.split(","))
    elif isinstance(models, (str, Path, Model)):
        parts = (models,)
    else:
        parts = tuple(models)
    if not parts or "" in parts:
        raise UserError(
            f"--model {models!r} holds an empty name",
            choices=tuple(EMBEDDED),
            next_step="Name one base, or several with commas between them: nano,nano-reader.",
        )
    seen: dict[str, Named] = {}
    for part in parts:
        if isinstance(part, Model):
            continue
        place = _place(str(part))
        if place in seen:
            raise UserError(
                f"{seen[place]} and {part} are the same base"
                if str(seen[place]) != str(part)
                else f"{part} is named twice",
                next_step="Name every base once.",
            )
        seen[place] = part
    if len(parts) > 1:  # a single one is checked as it opens
        for part in parts:
            if not isinstance(part, Model):
                check_name(part)
    return parts


def open_bases(
    parts: Sequence[Named], choose: Callable[[Model], tuple[Technique, ...]]
) -> OpenBases:
    """Open each base, and choose the techniques that are tried on it.

    Of several that were named only the last stays open. UserError where two are the same model.
    """
    shown: list[tuple[Named, str, BaseFacts, tuple[Technique, ...]]] = []
    opened: dict[int, Model] = {}
    for number, part in enumerate(parts):
        model = part if isinstance(part, Model) else load(part)
        backend = model.backend
        facts = BaseFacts(
            backend.name,
            backend.fingerprint,
            backend.facts,
            tuple(sorted(backend.capabilities)),
            backend.precision,
        )
        shown.append((part, model_identity(model), facts, choose(model)))
        if len(parts) == 1 or isinstance(part, Model) or facts.facts.remote:
            opened[number] = model
    _refuse_equal(shown)
    names = _short_names([_called(part) for part in parts])
    bases = [
        Base(
            name=name,
            identity=identity,
            facts=replace(facts, short=name),
            techniques=techniques,
            spelling=None if isinstance(part, Model) else part,
        )
        for name, (part, identity, facts, techniques) in zip(names, shown, strict=True)
    ]
    return OpenBases(bases, {names[number]: model for number, model in opened.items()})


def _refuse_equal(shown: Sequence[tuple[Named, str, BaseFacts, object]]) -> None:
    by_identity: dict[str, str] = {}
    for part, identity, _, _ in shown:
        called = _called(part)
        if identity in by_identity:
            raise UserError(
                f"{by_identity[identity]} and {called} are the same base",
                next_step="Name every base once.",
            )
        by_identity[identity] = called


def _called(part: Named) -> str:
    return part.backend.name if isinstance(part, Model) else str(part)


def _place(name: str) -> str:
    """What two spellings of one base have in common."""
    path = EMBEDDED.get(name, Path(name))
    return str(path.resolve()) if path.exists() else name


def _short_names(called: Sequence[str]) -> list[str]:
    """The last part of each path, hub id or address, where that tells them apart; else the whole,
    with a number where even that is the same."""
    short = [_last_part(name) for name in called]
    # The names of folders are made of these: what differs by a dash alone is not told apart.
    slugs = [slug(name) for name in short]
    names = [s if slugs.count(slug(s)) == 1 else w for s, w in zip(short, called, strict=True)]
    slugs = [slug(name) for name in names]
    return [
        name if slugs.count(key) == 1 else f"{name} {slugs[: place + 1].count(key)}"
        for place, (name, key) in enumerate(zip(names, slugs, strict=True))
    ]


def _last_part(name: str) -> str:
    if re.match(r"^https?://", name):
        address, _, model = name.partition("#")
        return model or re.sub(r"^https?://", "", address)
    return Path(name).name or name
