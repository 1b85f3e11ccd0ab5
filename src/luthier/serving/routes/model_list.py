"""GET /v1/models and /v1/models/{name}."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from luthier.serving.model_service import ModelService
from luthier.serving.served_models import ServedModel

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models")
async def list_models(request: Request) -> dict[str, Any]:
    """All models that are served."""
    service: ModelService = request.app.state.service
    return {"object": "list", "data": [model_form(served) for served in service.served.all()]}


@router.get("/models/{name:path}")
async def show_model(name: str, request: Request) -> dict[str, Any]:
    """One of them."""
    service: ModelService = request.app.state.service
    return model_form(service.find(name))


def model_form(served: ServedModel) -> dict[str, Any]:
    """A model as the API shows it; `luthier` holds what OpenAI's form has no place for."""
    model = served.model
    lineage = model.lineage
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "luthier",
        "luthier": {
            "base": model.backend.name,
            "run": served.run or None,
            "technique": None if lineage is None else lineage.technique,
            "filled": list(model.adaptation.filled),
            "labels": list(model.adaptation.decoding.labels),
        },
    }
