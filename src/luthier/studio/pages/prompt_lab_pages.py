"""Edit a part of a prompt, run it on dev, read the paired difference, keep it, promote it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from luthier.errors import LuthierError
from luthier.serving.guard.gate import require
from luthier.serving.served_models import ServedModel
from luthier.studio.dev_trial import EDITABLE, difference_on_dev, edited
from luthier.studio.prompt_versions import PromptVersions
from luthier.studio.run_shelf import ShelvedRun
from luthier.studio.view import View

USUAL_EXAMPLES, MOST_EXAMPLES = 60, 1000
MOST_CHARACTERS = 100_000


def pages(view: View) -> APIRouter:
    """Their routes."""
    router = APIRouter()

    @router.get("/runs/{name}/prompts")
    def lab(name: str, request: Request, model: str = "", version: int = 0) -> HTMLResponse:
        run = view.shelf.get(name)
        return view.page(request, "lab.html.j2", **_values(view, run, model, version))

    @router.post("/runs/{name}/prompts/try")
    async def try_out(name: str, request: Request) -> Response:
        run, form = view.shelf.get(name), await request.form()
        served = _served(view, run, str(form.get("model", "")))
        parts = {part: str(form.get(part, ""))[:MOST_CHARACTERS] for part in EDITABLE}
        limit = _count(str(form.get("limit", USUAL_EXAMPLES)))
        from starlette.concurrency import run_in_threadpool

        def work() -> int:
            prompt = edited(served.model.adaptation.prompt, parts)
            found = difference_on_dev(served.model, prompt, view.tasks.of(run), limit=limit)
            note = str(form.get("note", ""))[:2000]
            return (
                PromptVersions(run.folder)
                .add(served.name, prompt, note=note, difference=found)
                .number
            )

        try:
            number = await run_in_threadpool(work)
        except LuthierError as error:
            raise HTTPException(400, str(error)) from error
        return RedirectResponse(f"/runs/{name}/prompts?model={served.name}&version={number}", 303)

    @router.post("/runs/{name}/prompts/{number}/promote")
    def promote(name: str, number: int, request: Request) -> Response:
        require(request, "admin")  # a further model is served
        run = view.shelf.get(name)
        version = PromptVersions(run.folder).get(number)
        if version is None:
            raise HTTPException(404, f"the run has no version {number} of a prompt")
        model = _served(view, run, version.model).model
        folder = run.folder / f"prompt-{number}"
        try:
            model.adapt(prompt=version.prompt).save(folder)
            names = view.service.served.add(str(folder))
        except LuthierError as error:
            raise HTTPException(400, str(error)) from error
        return RedirectResponse(f"/playground?model={names[0]}", 303)

    return router


def _values(view: View, run: ShelvedRun, model: str, number: int) -> dict[str, Any]:
    own = [s for s in view.service.served.all() if _is_of(s, run) and s.name != run.name]
    served = next((s for s in own if s.name == model), own[0] if own else None)
    versions = PromptVersions(run.folder).all()
    version = next((v for v in versions if v.number == number), None)
    prompt = version.prompt if version else served.model.adaptation.prompt if served else None
    fault = ""
    if run.comparison is not None:
        try:
            view.tasks.of(run)
        except LuthierError as error:
            fault = str(error)
    return {
        "run": run, "own": own, "served": served, "versions": versions, "version": version,
        "prompt": prompt, "parts": EDITABLE, "fault": fault, "usual": USUAL_EXAMPLES,
    }  # fmt: skip


def _is_of(served: ServedModel, run: ShelvedRun) -> bool:
    return served.folder is not None and served.folder.resolve().parent == run.folder.resolve()


def _served(view: View, run: ShelvedRun, name: str) -> ServedModel:
    served = view.service.find(name)
    if not _is_of(served, run):
        raise HTTPException(400, f"{name!r} is no model of this run")
    return served


def _count(text: str) -> int:
    return max(8, min(int(text), MOST_EXAMPLES)) if text.isdigit() else USUAL_EXAMPLES
