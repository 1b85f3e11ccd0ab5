"""What happened? Runs, cache, artifacts, provenance."""

from luthier.ledger.artifacts import Artifacts
from luthier.ledger.cache import ResponseCache, response_key
from luthier.ledger.provenance import Provenance
from luthier.ledger.store import ComparisonRow, Event, Member, RunRow, Store
from luthier.ledger.work import Work, checkpoint_folder, report, working

__all__ = [
    "Artifacts",
    "ComparisonRow",
    "Event",
    "Member",
    "Provenance",
    "ResponseCache",
    "RunRow",
    "Store",
    "Work",
    "checkpoint_folder",
    "report",
    "response_key",
    "working",
]
