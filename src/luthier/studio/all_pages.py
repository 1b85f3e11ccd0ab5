"""The router of every page, and the folder pages' shared state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Response

from luthier.report.html import stylesheet
from luthier.studio.pages import (
    example_pages,
    feedback_pages,
    knowledge_page,
    playground_page,
    prompt_lab_pages,
    run_pages,
    technique_page,
)
from luthier.studio.view import View


def all_pages(view: View) -> APIRouter:
    """The pages over one service. `serving.guard` keeps requests of other sites from them."""

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        view.desk.close()

    router = APIRouter(include_in_schema=False, lifespan=lifespan)

    @router.get("/look.css")
    def look() -> Response:
        return Response(stylesheet(), media_type="text/css")

    for part in (
        run_pages, example_pages, playground_page, prompt_lab_pages, feedback_pages, knowledge_page,
        technique_page,
    ):  # fmt: skip
        router.include_router(part.pages(view))
    return router
