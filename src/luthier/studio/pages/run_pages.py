"""The runs; one run while it goes on and after; its report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from luthier.errors import LuthierError
from luthier.report.html import render_html
from luthier.report.metric_view import metric_view_of
from luthier.report.probe_page import probe_page
from luthier.report.sections.plots import cost_plots, interval_plot
from luthier.report.technique_view import headline, reference_views, technique_views
from luthier.serving.guard.gate import require
from luthier.studio.continued_runs import command_words
from luthier.studio.run_shelf import ShelvedRun
from luthier.studio.view import View


def pages(view: View) -> APIRouter:
    """Their routes."""
    router = APIRouter()

    @router.get("/")
    def all_runs(request: Request) -> HTMLResponse:
        probes = [(file.stem, found) for file, found in view.shelf.probes()]
        return view.page(request, "runs.html.j2", runs=view.shelf.all(), probes=probes)

    @router.get("/probes/{name}")
    def one_probe(name: str) -> Response:
        found = {file.stem: found for file, found in view.shelf.probes()}.get(name)
        if found is None:
            raise HTTPException(404, f"there is no probe {name!r}")
        # The page brings its own policy, which allows no script at all.
        heads = {"Content-Security-Policy": "frame-ancestors 'none'"}
        return HTMLResponse(probe_page(found), headers=heads)

    @router.get("/runs/{name}")
    def one_run(name: str, request: Request) -> HTMLResponse:
        run = view.shelf.get(name)
        return view.page(
            request, "run.html.j2", run=run, starting=view.continued.starting(run),
            alive=view.continued.alive(run.folder),
            fault=view.continued.fault(run.folder), command=command_words(run, run.launch),
            **run_values(run),
        )  # fmt: skip

    @router.get("/runs/{name}/report")
    def report(name: str) -> Response:
        # The report brings its own policy, which allows its one script by hash.
        heads = {"Content-Security-Policy": "frame-ancestors 'none'"}
        return HTMLResponse(render_html(view.shelf.comparison(name)), headers=heads)

    @router.post("/runs/{name}/stop")
    def stop(name: str, request: Request) -> Response:
        require(request, "admin")
        if not view.continued.stop(view.shelf.get(name).folder):
            raise HTTPException(409, "no comparison works in this run now")
        return RedirectResponse(f"/runs/{name}", 303)

    @router.post("/runs/{name}/go-on")
    def go_on(name: str, request: Request) -> Response:
        require(request, "admin")
        run = view.shelf.get(name)
        try:
            view.continued.go_on(run, named_file=view.tasks.named_file(run))
        except LuthierError as error:
            raise HTTPException(409, str(error)) from error
        return RedirectResponse(f"/runs/{name}", 303)

    return router


def run_values(run: ShelvedRun) -> dict[str, Any]:
    """What the page of a run shows."""
    comparison = run.comparison
    if comparison is None:
        return {"comparison": None}
    metric = metric_view_of(comparison)
    views = technique_views(comparison)
    if run.going_on:  # a pick comes at the end
        views = [replace(view, mark="") for view in views]
    measured = [v for v in views if v.measured and v.result.part_of is None]
    sign = -1 if metric.higher_is_better else 1
    measured.sort(key=lambda v: sign * (v.result.score.value or 0.0))
    waiting = [v for v in views if not v.measured and v.result.part_of is None]
    costs = cost_plots(comparison, views, metric) if not run.going_on else []
    return {
        "comparison": comparison,
        "metric": metric,
        "headline": headline(comparison),
        "measured": measured,
        "waiting": waiting,
        "references": [v for v in reference_views(comparison) if v.measured],
        "intervals": interval_plot(comparison, views, metric),
        "cost": costs[0] if costs else None,
    }
