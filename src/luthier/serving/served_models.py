"""What a server serves: a model for each name, all adaptations of one base over one backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import UserError
from luthier.ledger.run_ledger import LEDGER_FILE
from luthier.models.backend import Backend
from luthier.models.load import load, open_backend
from luthier.models.model import Model
from luthier.models.storage import ADAPTATION_FILE


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model under its name. `folder` is where its adaptation lies, None for a bare base;
    `run` is the name of the run it is of, and `created` when it was written (Unix seconds)."""

    name: str
    model: Model
    folder: Path | None
    run: str
    created: int


class ServedModels:
    """The models that are served, by name. Threads may share it; `add` and `remove` take effect at
    once, and a request that is under way keeps the model it began with."""

    def __init__(self, *, base: str | None = None, device: str = "auto") -> None:
        self._base, self._device = base, device
        self._backends: dict[str, Backend] = {}
        self._models: dict[str, ServedModel] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(
        cls, places: Iterable[str], *, base: str | None = None, device: str = "auto"
    ) -> ServedModels:
        """The models of run folders, of technique folders, and bare bases ("nano").

        UserError where a folder holds nothing to serve, ModelError where a base cannot be opened.
        """
        served = cls(base=base, device=device)
        for place in places:
            served.add(place)
        return served

    def add(self, place: str) -> tuple[str, ...]:
        """Serve what is in a place, and return the names: "tickets/lora" for each adaptation of the
        run folder tickets, and "tickets" for the verdict's pick."""
        folder = Path(place)
        found: dict[str, Path | None]
        if (folder / ADAPTATION_FILE).is_file():
            resolved = folder.resolve()
            run = resolved.parent.name if (resolved.parent / LEDGER_FILE).is_file() else ""
            found = {f"{run}/{resolved.name}" if run else resolved.name: folder}
        elif folder.is_dir() and not (folder / "config.json").is_file():
            run, found = folder.resolve().name, adaptations_of(folder)
        else:
            run, found = "", {place: None}
        new, opened = {}, dict[str, Model]()
        for name, where in found.items():
            key = place if where is None else str(where.resolve())
            if key not in opened:  # the pick has two names
                opened[key] = load(key, base=self._base, opener=self._open)
            model = opened[key]
            path = folder if where is None else where / ADAPTATION_FILE
            created = int(path.stat().st_mtime) if path.exists() else 0
            new[name] = ServedModel(name, model, where, run, created)
        with self._lock:
            self._models |= new
        return tuple(new)

    def put(self, name: str, model: Model) -> None:
        """Serve a model that is in memory."""
        with self._lock:
            self._models[name] = ServedModel(name, model, None, "", int(time.time()))

    def remove(self, name: str) -> tuple[str, ...]:
        """Serve a model no longer, or all models of a run; returns what went."""
        with self._lock:
            gone = [n for n, served in self._models.items() if name in (n, served.run)]
            for one in gone:
                del self._models[one]
            used = {id(served.model.backend) for served in self._models.values()}
            self._backends = {n: b for n, b in self._backends.items() if id(b) in used}
        return tuple(gone)

    def names(self) -> tuple[str, ...]:
        """All names, in the order in which they were added."""
        return tuple(self._models)

    def get(self, name: str) -> ServedModel | None:
        """The model of a name; None where there is none."""
        return self._models.get(name)

    def all(self) -> tuple[ServedModel, ...]:
        """All models, in the order in which they were added."""
        return tuple(self._models.values())

    def _open(self, name: str) -> Backend:
        """One backend for one base, however many adaptations there are of it."""
        if name not in self._backends:
            self._backends[name] = open_backend(name, device=self._device)
        return self._backends[name]


def adaptations_of(folder: Path) -> dict[str, Path | None]:
    """The folders of saved adaptations in a run folder, by the names they are served under.

    UserError where there is none.
    """
    from luthier.compare.run_folder import pick_of

    run = folder.resolve().name
    inside = sorted(p for p in folder.iterdir() if (p / ADAPTATION_FILE).is_file())
    if not inside:
        raise UserError(
            f"{folder} holds no adapted model to serve",
            next_step="Give a run folder of luthier compare, or the folder of one technique.",
        )
    found: dict[str, Path | None] = {}
    if (folder / LEDGER_FILE).is_file():
        with suppress(UserError):  # it has no pick (yet): its techniques are served all the same
            found |= {run: pick} if (pick := pick_of(folder)) is not None else {}
    return found | {f"{run}/{path.name}": path for path in inside}
