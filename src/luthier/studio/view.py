"""What every page needs: the runs, the models, and how a template becomes a page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from luthier.report import amounts
from luthier.serving.model_service import ModelService
from luthier.studio.continued_runs import ContinuedRuns
from luthier.studio.feedback_desk import FeedbackDesk
from luthier.studio.run_shelf import RunShelf
from luthier.studio.task_shelf import TaskShelf

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).with_name("templates")
STATIC_FILES = Path(__file__).with_name("static")
HEADERS = {"Cache-Control": "no-store"}  # all others come from `serving.guard`


@dataclass(frozen=True, slots=True)
class View:
    """The runs and the models behind the pages."""

    shelf: RunShelf
    service: ModelService
    tasks: TaskShelf
    continued: ContinuedRuns
    desk: FeedbackDesk

    def page(self, request: Request, template: str, **values: Any) -> HTMLResponse:
        """A page; of a request by htmx only the part that changes."""
        part = request.headers.get("hx-request") == "true"
        values |= {"models": self.service.served.all(), "holder": request.state.holder}
        text = self.frame(request, template, part=part, **values)
        return HTMLResponse(text.replace("\x00", "\ufffd"), headers=HEADERS)

    def frame(self, request: Request, template: str, **values: Any) -> str:
        """A template as text, for a page that is made elsewhere."""
        return environment().get_template(template).render(path=request.url.path, **values)


def fault_page(request: Request, status: int, words: str) -> HTMLResponse:
    """What a browser shows where a page is not there, or cannot be made."""
    heading = "There is no such page" if status == 404 else "This did not work"
    sentence = words[:1].upper() + words[1:].rstrip(".") + "."
    template = environment().get_template("fault.html.j2")
    text = template.render(path=request.url.path, part=False, heading=heading, words=sentence)
    return HTMLResponse(text.replace("\x00", "\ufffd"), status, headers=HEADERS)


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The templates of the studio; all text is escaped."""
    import jinja2

    from luthier.report.html import commands, family_marker

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for write in (amounts.count, amounts.milliseconds, amounts.rate, amounts.seconds, amounts.size):
        found.filters[write.__name__] = write
    found.filters["family_marker"] = family_marker
    found.filters["commands"] = commands
    return found
