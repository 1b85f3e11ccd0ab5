"""Models come and go while the server runs: POST and DELETE under /admin/models."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from luthier.serving.api_errors import ApiError, unknown_model
from luthier.serving.guard.gate import require
from luthier.serving.model_service import ModelService

router = APIRouter(prefix="/admin", tags=["admin"])


class PlaceBody(BaseModel):
    """A run folder or a technique's folder, relative to the folder of runs."""

    place: str


@router.post("/models")
async def load_models(body: PlaceBody, request: Request) -> dict[str, Any]:
    """Serve what is in a folder, within the folder of runs and nowhere else."""
    require(request, "admin")
    service: ModelService = request.app.state.service
    root: Path | None = request.app.state.root
    place = within(root, body.place)
    names = await asyncio.to_thread(service.served.add, str(place))
    return {"object": "list", "loaded": list(names)}


@router.delete("/models/{name:path}")
async def unload_models(name: str, request: Request) -> dict[str, Any]:
    """Serve a model, or all models of a run, no longer. Requests under way end as they began."""
    require(request, "admin")
    service: ModelService = request.app.state.service
    gone = service.unload(name)
    if not gone:
        raise unknown_model(name)
    return {"object": "list", "unloaded": list(gone)}


def within(root: Path | None, place: str) -> Path:
    """The folder of a place under the folder of runs. ApiError for one outside it."""
    if root is None:
        raise ApiError(403, "No folder of runs is set: give serve a --root.", code="no_root")
    try:
        found = (root / place).resolve()
        inside = found.is_relative_to(root.resolve()) and found.is_dir()
    except (OSError, ValueError):
        inside = False
    if not inside or "\0" in place:
        raise ApiError(404, "There is no such folder among the runs.", param="place")
    return found
