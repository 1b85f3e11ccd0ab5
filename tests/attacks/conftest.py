"""What holds for every attack: a cache of its own, no key, no host that an earlier test named."""

from __future__ import annotations

import pytest

from luthier.models import endpoint_calls
from luthier.safety import hosts
from tests.attacks.hostile_server import hostile_server

KEY = "sk-planted-0f3a9c7e51d24b68"


@pytest.fixture(autouse=True)
def alone(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("LUTHIER_API_KEY", KEY)
    for name in ("LUTHIER_DEBUG", "LUTHIER_ALLOWED_HOSTS", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hosts, "_named", set())
    monkeypatch.setattr(endpoint_calls, "FIRST_WAIT", 0.01)


@pytest.fixture
def serve():
    """Starts hostile servers; each is (address, handler class)."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda **manners: stack.enter_context(hostile_server(**manners))
