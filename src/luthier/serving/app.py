"""The application: the API's routes, its errors, and the studio's pages where they are there.

    service = ModelService(ServedModels.of(["runs/tickets"]))
    app = create(service)

**How the studio is mounted.** Where the package `luthier.studio` can be imported, `create` calls
`luthier.studio.router(service, root, tasks)`, which returns an `APIRouter`, and includes it at `/`.
The service gives it the models (`service.served.all()`) and their answers (`service.respond(name,
ServedQuestion(...))`, `service.stream(...)`); every handler also finds it as
`request.app.state.service`.
The studio may have `luthier.studio.STATIC`, a folder of files that is served under `/static`, and
`luthier.studio.fault_page(request, status, words)`, which makes a page of an error for a browser
that asked for one. The API keeps what begins with `/v1` for itself.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from luthier.errors import LuthierError
from luthier.serving.api_errors import ApiError, as_api_error
from luthier.serving.guard.gate import Gate, GateRules
from luthier.serving.model_service import ModelService
from luthier.serving.routes import (
    chat_completions,
    embeddings_page,
    health_pages,
    model_admin,
    model_list,
    text_completions,
)
from luthier.serving.watch.server_metrics import ServerMetrics

if TYPE_CHECKING:
    from luthier.task.task import Task

STUDIO = "luthier.studio"
ROUTES = (
    model_list, chat_completions, text_completions, embeddings_page, model_admin, health_pages,
)  # fmt: skip


def create(
    service: ModelService,
    *,
    studio: bool = True,
    rules: GateRules | None = None,
    root: Path | None = None,
    tasks: Sequence[Task] = (),
) -> FastAPI:
    """The application over a service; it closes the service when it ends.

    **Arguments**

    - `studio`: mount the studio's pages at `/`, where they are installed; they show what is
      served, and the runs in `root`.
    - `rules`: what the gate holds requests to: keys, limits, the audit log.
    - `root`: the folder of runs that models are loaded from while the server runs; None: none are.
    - `tasks`: in which the studio finds the data of a run, beside those that runs remember.
    """
    rules = rules or GateRules()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()
        rules.audit.close()

    app = FastAPI(title="Luthier", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service, app.state.root, app.state.fault_page = service, root, None
    app.state.metrics = ServerMetrics(service)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(LuthierError, _luthier_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    for part in (
        model_list,
        chat_completions,
        text_completions,
        embeddings_page,
        model_admin,
        health_pages,
    ):
        app.include_router(part.router)
    if studio:
        mount_studio(app, service, root, tasks)
    app.add_middleware(Gate, rules=rules)
    return app


def mount_studio(
    app: FastAPI, service: ModelService, runs: Path | None = None, tasks: Sequence[Task] = ()
) -> bool:
    """Mount the studio's pages; False where they are not installed."""
    if importlib.util.find_spec(STUDIO) is None:
        return False
    pages: Any = importlib.import_module(STUDIO)  # it stands above this room
    app.include_router(pages.router(service, runs, tasks))
    app.state.fault_page = getattr(pages, "fault_page", None)
    static = getattr(pages, "STATIC", None)
    if static is not None:
        app.mount("/static", StaticFiles(directory=static), name="static")
    return True


def _as_page(request: Request) -> bool:
    """Whether a browser asked for a page, and not a program for an answer."""
    asked = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    return asked and not request.url.path.startswith("/v1/")


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    fault_page = request.app.state.fault_page
    if fault_page is not None and _as_page(request):
        page: Response = fault_page(request, error.status, error.message)
        page.headers.update(error.headers or {})
        return page
    return JSONResponse(error.body, error.status, headers=error.headers)


async def _luthier_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LuthierError)
    return await _api_error(request, as_api_error(error))


async def _invalid(request: Request, error: Exception) -> Response:
    """What pydantic found wrong: the first thing, with its place."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    words = f"{'.'.join(place)}: {first['msg']}" if place else str(first["msg"])
    return await _api_error(request, ApiError(400, words, param=".".join(place) or None))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = str(error.detail)
    if not _as_page(request):
        words = f"{request.method} {request.url.path}: {words}"
    return await _api_error(request, ApiError(error.status_code, words))


async def _unexpected(request: Request, error: Exception) -> Response:
    words = f"Something went wrong that should not ({type(error).__name__})."
    return await _api_error(request, ApiError(500, words, kind="server_error"))
