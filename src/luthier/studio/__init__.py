"""The studio: pages over runs, for people who look rather than read JSON.

Server-rendered pages with a little script, nothing loaded from elsewhere, one look with the report.
`router` gives the pages to a server (`luthier.serving.app` mounts them at `/`); `STATIC` is the
folder of what they load, and `fault_page` stands where a page cannot. Needs
`pip install luthier[serve]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import APIRouter, Request, Response

    from luthier.serving.model_service import ModelService
    from luthier.task.task import Task

STATIC = Path(__file__).with_name("static")


def fault_page(request: Request, status: int, words: str) -> Response:
    """What a browser shows where a page is not there, or cannot be made."""
    from luthier.studio import view

    return view.fault_page(request, status, words)


def router(
    service: ModelService, runs: Path | None = None, tasks: Sequence[Task] = ()
) -> APIRouter:
    """All pages: over the runs that are served, and over those in the folder `runs`. The data of a
    run is found in `tasks`, or where the run remembers it."""
    from luthier.studio.all_pages import all_pages
    from luthier.studio.continued_runs import ContinuedRuns
    from luthier.studio.feedback_desk import FeedbackDesk
    from luthier.studio.run_shelf import RunShelf
    from luthier.studio.task_shelf import TaskShelf
    from luthier.studio.view import View

    shelf = RunShelf(service.served, runs)
    return all_pages(View(shelf, service, TaskShelf(tasks), ContinuedRuns(), FeedbackDesk()))
