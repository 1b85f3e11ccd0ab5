"""A small run folder to serve: zero-shot and few-shot on the base without weights."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi.testclient import TestClient

from luthier.compare.run_comparison import compare
from luthier.models.model import Model
from luthier.serving.app import create
from luthier.serving.listening import free_socket
from luthier.serving.model_service import ModelService
from luthier.serving.served_models import ServedModels
from tests.compare_stubs import toy_task


def make_run(folder: Path) -> Path:
    """A finished comparison in `folder`."""
    compare(
        toy_task(), "fake", techniques=["zero-shot", "few-shot"], seeds=1, out=folder,
        budget="200ktok",
    )  # fmt: skip
    return folder


def client(*places: Path | str, models: dict[str, Model] | None = None, **settings) -> TestClient:
    """A client of an application that serves these places and models; use it in a with block."""
    served = ServedModels.of([str(place) for place in places])
    for name, model in (models or {}).items():
        served.put(name, model)
    return TestClient(create(ModelService(served), **settings), raise_server_exceptions=False)


def running(service: ModelService, **settings) -> Iterator[str]:
    """The address of a real server in a thread of its own."""
    socket = free_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create(service, **settings), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.should_exit = True
    thread.join()
