"""Two techniques side by side, example by example."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from luthier.studio.example_table import (
    SHOW,
    ExampleFilter,
    answer_of,
    as_csv,
    example_table,
    one_example,
)
from luthier.studio.view import HEADERS, View


def pages(view: View) -> APIRouter:
    """Their routes."""
    router = APIRouter()

    @router.get("/runs/{name}/examples")
    def examples(
        name: str, request: Request, a: str = "", b: str = "", show: str = "disagree",
        label: str = "", words: str = "", page: int = 1,
    ) -> HTMLResponse:  # fmt: skip
        run = view.shelf.get(name)
        asked = ExampleFilter(a, b, show if show in SHOW else "all", label, words, page)
        table = example_table(view.shelf.comparison(name), asked)
        query = {"a": a, "b": b, "show": asked.show, "label": label, "words": words}
        return view.page(
            request, "examples.html.j2", run=run, table=table, asked=asked, show=SHOW,
            answer=answer_of, query=urlencode(query),
        )  # fmt: skip

    @router.get("/runs/{name}/examples.csv")
    def file(
        name: str, a: str = "", b: str = "", show: str = "disagree", label: str = "",
        words: str = "",
    ) -> Response:  # fmt: skip
        table = example_table(view.shelf.comparison(name), ExampleFilter(a, b, show, label, words))
        heads = {**HEADERS, "Content-Disposition": 'attachment; filename="examples.csv"'}
        return Response(as_csv(table), media_type="text/csv; charset=utf-8", headers=heads)

    @router.get("/runs/{name}/examples/{id:path}")
    def example(name: str, id: str, request: Request) -> HTMLResponse:
        run, found = view.shelf.get(name), one_example(view.shelf.comparison(name), id)
        if not found:
            raise HTTPException(404, f"the run has no scored example {id!r}")
        return view.page(request, "example.html.j2", run=run, found=found, answer=answer_of, id=id)

    return router
