"""What a probe found: one record with a field for each part, kept as `probe.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import StorageError
from luthier.probe.contamination import Contamination
from luthier.probe.familiarity import Familiarity
from luthier.probe.hallucination_map import HallucinationMap
from luthier.probe.probe_advice import Advice
from luthier.probe.skills import SkillsProfile
from luthier.probe.verbatim import Traces
from luthier.serialization import DAMAGE, dumps, loads, to_plain

PROBE_FILE = "probe.json"


@dataclass(frozen=True, slots=True)
class Findings:
    """All parts of one probe of a base. A part that was not asked for is None; one that could not
    be measured says so in its `lacks`.

    `documents` are the names of what was read, `unread` those that could not be, with the reason.
    `task_fingerprint` is `Task.fingerprint`: with `fingerprint`, that of the base, it says which
    comparisons the findings belong to.
    """

    base: str
    fingerprint: str
    documents: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    task: str | None = None
    task_fingerprint: str | None = None
    familiarity: Familiarity | None = None
    traces: Traces | None = None
    contamination: Contamination | None = None
    hallucination: HallucinationMap | None = None
    skills: SkillsProfile | None = None
    advice: Advice | None = None
    notes: tuple[str, ...] = ()
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The findings as `luthier probe --json` prints them."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    def save(self, folder: str | Path) -> Path:
        """Write the findings into a .json file, or as `probe.json` into a folder; `load` reads them
        back."""
        target = Path(folder)
        target = target if target.suffix == ".json" else target / PROBE_FILE
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(dumps(self) + "\n", "utf-8")
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
        return target

    @classmethod
    def load(cls, folder: str | Path) -> Findings:
        """The findings of a folder, or of the file itself. StorageError where there are none, or
        none that can be read."""
        place = Path(folder)
        place = place / PROBE_FILE if place.is_dir() else place
        try:
            return loads(cls, place.read_text("utf-8"))
        except OSError as error:
            raise StorageError(f"{place} cannot be read: {error.strerror or error}") from error
        except DAMAGE as error:
            raise StorageError(f"{place} holds no findings of a probe: {error}") from error
