"""The cards of the techniques."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from luthier import registry
from luthier.report.technique_view import FAMILIES
from luthier.studio.view import View


def pages(view: View) -> APIRouter:
    """Its route."""
    router = APIRouter()

    @router.get("/techniques")
    def techniques(request: Request) -> HTMLResponse:
        found, problems = registry.load_all("techniques")
        cards = [
            (name, kind, *FAMILIES.get(kind.family, ("f-other", "circle")))
            for name, kind in found.items()
        ]
        return view.page(request, "techniques.html.j2", cards=cards, problems=problems)

    return router
