"""What people say of a run's answers, and the page on which they say it."""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from luthier.errors import LuthierError
from luthier.feedback.annotate.invites import invite_of
from luthier.feedback.annotate.page_app import TITLES, AnnotationPages
from luthier.ledger.opinions import OpinionKind
from luthier.report.html import stylesheet
from luthier.serving.guard.gate import ANYONE, require
from luthier.studio.feedback_desk import summary
from luthier.studio.view import STATIC_FILES, View

MOST_NAME = 80  # characters
KINDS: tuple[OpinionKind, ...] = tuple(k for k in get_args(OpinionKind) if k in TITLES)


def pages(view: View) -> APIRouter:
    """Their routes."""
    router = APIRouter()

    @router.get("/runs/{name}/feedback")
    def feedback(name: str, request: Request) -> HTMLResponse:
        run = view.shelf.get(name)
        found = summary(view.desk.store(run.folder))
        named = request.state.holder != ANYONE
        return view.page(
            request, "feedback.html.j2", run=run, found=found, titles=TITLES, named=named
        )

    @router.post("/runs/{name}/feedback/begin")
    async def begin(name: str, request: Request) -> Response:
        """Begin to annotate: whoever has a key under its name, others under the one they give."""
        holder, form = request.state.holder, await request.form()
        who = str(form.get("who", "")) if holder == ANYONE else holder.name
        return _invited(view, name, who, str(form.get("kind", "")), go=True)

    @router.post("/runs/{name}/feedback/invite")
    async def invite(name: str, request: Request) -> Response:
        """A link for somebody else."""
        require(request, "admin")
        form = await request.form()
        who, kind = str(form.get("who", "")), str(form.get("kind", ""))
        return _invited(view, name, who, kind, go=False)

    def annotation(request: Request) -> AnnotationPages:
        run = view.shelf.get(request.path_params["name"])
        frame = view.frame(request, "annotate_frame.html.j2", run=run)
        style = stylesheet() + (STATIC_FILES / "frame.css").read_text("utf-8")
        return view.desk.pages(run.folder, style=style, frame=frame)

    async def page(request: Request) -> Response:
        return await annotation(request).page(request)

    async def next_item(request: Request) -> Response:
        return await annotation(request).next_item(request)

    async def take_opinion(request: Request) -> Response:
        return await annotation(request).take_opinion(request)

    async def undo(request: Request) -> Response:
        return await annotation(request).undo(request)

    place = "/runs/{name}/annotate/a/{token}"
    router.add_route(place, page)
    router.add_route(f"{place}/next", next_item)
    router.add_route(f"{place}/opinions", take_opinion, methods=["POST"])
    router.add_route(f"{place}/undo", undo, methods=["POST"])
    return router


def _invited(view: View, name: str, who: str, kind: str, *, go: bool) -> Response:
    """Make an invite, or find the one there is, and lead to its page or to the list."""
    store = view.desk.store(view.shelf.get(name).folder)
    try:
        made = invite_of(store, who.strip()[:MOST_NAME], kind=kind)  # type: ignore[arg-type]
    except LuthierError as error:
        raise HTTPException(400, str(error)) from error
    place = f"annotate/a/{made.token}" if go else "feedback"
    return RedirectResponse(f"/runs/{name}/{place}", 303)
