"""/healthz, /readyz and /metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from luthier.serving.model_service import ModelService

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Requests are taken: 503 while the server ends, or where nothing is served."""
    service: ModelService = request.app.state.service
    ready = not service.draining and bool(service.served.names())
    facts: dict[str, Any] = {"ready": ready, "under_way": service.worker.under_way}
    return JSONResponse(facts, 200 if ready else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """What Prometheus reads."""
    text = request.app.state.metrics.page()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
