"""Tests for what you plug in: the contract of each kind, as a function, and a fake model.

    from luthier.testing import FakeBackend, check_technique

    def test_my_technique():
        check_technique(MyTechnique())

Every implementation that ships with Luthier goes through the same functions. They raise
AssertionError with a sentence that says what is wrong, under any test runner.
"""

from luthier.models.fake import FakeBackend
from luthier.testing.backend_contract import check_backend
from luthier.testing.embedder_contract import check_embedder
from luthier.testing.scorer_contract import check_scorer
from luthier.testing.store_contract import check_store
from luthier.testing.technique_contract import check_technique
from luthier.testing.transcriber_contract import check_transcriber

__all__ = [
    "FakeBackend",
    "check_backend",
    "check_embedder",
    "check_scorer",
    "check_store",
    "check_technique",
    "check_transcriber",
]
