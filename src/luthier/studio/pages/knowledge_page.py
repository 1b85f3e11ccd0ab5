"""Search the index of a served model: passages, their places, and why they rank."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from luthier.errors import LuthierError
from luthier.studio.view import View

MOST_PASSAGES = 20


def pages(view: View) -> APIRouter:
    """Its route."""
    router = APIRouter()
    opened: dict[str, Any] = {}  # an index stays open

    @router.get("/knowledge")
    def knowledge(
        request: Request, index: str = "", q: str = "", mode: str = "", k: int = 5
    ) -> HTMLResponse:
        addresses = indexes(view)
        chosen = index if index in addresses else next(iter(addresses), "")
        hits, fault = [], ""
        if chosen and q.strip():
            try:
                hits = search(opened, chosen, q, mode=mode, k=k)
            except LuthierError as error:
                fault = str(error)
        return view.page(
            request, "knowledge.html.j2", addresses=addresses, chosen=chosen, q=q, mode=mode, k=k,
            hits=hits, fault=fault,
        )  # fmt: skip

    return router


def indexes(view: View) -> dict[str, list[str]]:
    """The indexes of the served models, each with the models that look things up in it. No other
    place is opened, whatever the request names."""
    found: dict[str, list[str]] = {}
    for served in view.service.served.all():
        slot = served.model.adaptation.knowledge
        if slot is not None:
            found.setdefault(slot.index, []).append(served.name)
    return found


def search(opened: dict[str, Any], address: str, query: str, *, mode: str, k: int) -> list[Any]:
    """The passages for a query, the first first."""
    from luthier.retrieval import SearchSettings, open_index
    from luthier.retrieval.types import Mode

    if address not in opened:
        opened[address] = open_index(address)
    index = opened[address]
    usual = "hybrid" if index.facts.dimension else "lexical"
    chosen = mode if mode in ("dense", "lexical", "hybrid") and index.facts.dimension else usual
    settings = SearchSettings(k=max(1, min(k, MOST_PASSAGES)), mode=cast(Mode, chosen))
    return list(index.search([query], settings)[0])
