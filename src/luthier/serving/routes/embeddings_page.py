"""POST /v1/embeddings: the mean of the last layer's states under the adapter, of length 1."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from luthier.models.prompt import Rendered
from luthier.records import Capability
from luthier.serving.api_errors import ApiError
from luthier.serving.model_service import ModelService
from luthier.serving.request_bodies import EmbeddingBody
from luthier.serving.routes.text_completions import texts_of

router = APIRouter(prefix="/v1", tags=["embeddings"])


@router.post("/embeddings")
async def embeddings(body: EmbeddingBody, request: Request) -> dict[str, Any]:
    """A vector for each text."""
    service: ModelService = request.app.state.service
    request.state.model = body.model
    model = service.find(body.model).model
    texts = texts_of(service, body.model, body.input)
    if any(not text.strip() for text in texts):
        raise ApiError(400, "A text is empty.", param="input")
    if body.dimensions is not None:
        raise ApiError(400, "The dimensions are those of the base.", param="dimensions")
    layers = model.backend.facts.layers
    if Capability.EMBEDDINGS not in model.capabilities or layers is None:
        raise ApiError(400, f"{body.model} gives no embeddings.", param="model", code="unsupported")
    states = await asyncio.to_thread(
        model.backend.pooled_states,
        [Rendered(text=text) for text in texts],
        model.adaptation,
        layers=[layers],
    )
    data = []
    for index, state in enumerate(states):
        vector = state.mean[0] / max(float(np.linalg.norm(state.mean[0])), 1e-12)
        value: Any = vector.tolist()
        if body.encoding_format == "base64":
            value = base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
        data.append({"object": "embedding", "index": index, "embedding": value})
    read = sum(state.tokens for state in states)
    return {
        "object": "list",
        "data": data,
        "model": body.model,
        "usage": {"prompt_tokens": read, "total_tokens": read},
    }
