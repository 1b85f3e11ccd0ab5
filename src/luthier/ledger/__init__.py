"""What happened? The runs, the cache of responses, the artifacts, the provenance."""

from luthier.context import WorkContext, checkpoint_folder, report_progress, working
from luthier.ledger.artifacts import Artifacts
from luthier.ledger.cache import ResponseCache, response_key
from luthier.ledger.provenance import Provenance
from luthier.ledger.run_ledger import Event, Ledger, PlannedRun, StoredComparison, StoredRun

__all__ = [
    "Artifacts",
    "Event",
    "Ledger",
    "PlannedRun",
    "Provenance",
    "ResponseCache",
    "StoredComparison",
    "StoredRun",
    "WorkContext",
    "checkpoint_folder",
    "report_progress",
    "response_key",
    "working",
]
