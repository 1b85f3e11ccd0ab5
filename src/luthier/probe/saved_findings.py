"""The findings that are kept beside runs: `runs/probes/*.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from luthier.errors import StorageError
from luthier.probe.contamination import Contamination
from luthier.probe.findings import Findings
from luthier.probe.probe_request import PARTS
from luthier.serialization import digest

FOLDER = "probes"


def keep_findings(found: Findings, runs: str | Path) -> Path:
    """Write findings into the folder of probes inside a folder of runs. A later probe of the same
    base with the same task, documents and parts replaces them."""
    parts = [name for name in PARTS if getattr(found, name) is not None]
    key = digest([found.fingerprint, found.task_fingerprint, found.documents, parts])[:8]
    about = found.task or ("documents" if found.documents else "skills")
    name = re.sub(r"[^\w.-]+", "-", f"{Path(found.base).name or found.base}-{about}").strip("-.")
    return found.save(Path(runs) / FOLDER / f"{name[:80]}-{key}.json")


def kept_findings(runs: str | Path) -> Iterator[tuple[Path, Findings]]:
    """The findings inside a folder of runs, the newest first; what cannot be read is left out."""
    try:
        files = sorted(
            (Path(runs) / FOLDER).glob("*.json"), key=lambda file: -file.stat().st_mtime_ns
        )
    except OSError:
        return
    for file in files:
        try:
            yield file, Findings.load(file)
        except StorageError:
            continue


def contamination_of(
    runs: str | Path, *, fingerprint: str, task_fingerprint: str
) -> Contamination | None:
    """What the newest probe says of a base and the test set of a task; None where nobody looked."""
    for _, found in kept_findings(runs):
        same = (found.fingerprint, found.task_fingerprint) == (fingerprint, task_fingerprint)
        if same and found.contamination is not None and not found.contamination.lacks:
            return found.contamination
    return None
