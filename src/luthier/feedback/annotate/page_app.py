"""The page and its few requests, as a Starlette app that serves alone or mounted in another.

    GET  /                       what this is
    GET  /a/TOKEN                the page of one invite
    GET  /a/TOKEN/next           the next item, without a word on who answered
    POST /a/TOKEN/opinions       one opinion; answered when it is on the disk
    POST /a/TOKEN/undo           take one's own opinion back

Sending an opinion twice stores it once. The page loads nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from luthier.errors import FeedbackError, StorageError
from luthier.feedback.annotate.choose_item import ItemChooser
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import FeedbackItem, Invite, ItemAnswer, Opinion, OpinionKind

TEMPLATES = Path(__file__).with_name("templates")
MOST_BYTES = 8_000_000  # of a request
TITLES = {
    "preference": "Which answer is better?",
    "rating": "How good is this answer?",
    "thumb": "Is this a good answer?",
    "edit": "What should the answer have been?",
}


def annotation_app(store: FeedbackStore, *, style: str = "", people_per_item: int = 2) -> Starlette:
    """The app over an open store. `style` is a style sheet that stands before the page's own."""
    chooser = ItemChooser(store, people_per_item=people_per_item)
    pages = AnnotationPages(store, chooser, style)
    return Starlette(
        routes=[
            Route("/", pages.start),
            Route("/a/{token}", pages.page),
            Route("/a/{token}/next", pages.next_item),
            Route("/a/{token}/opinions", pages.take_opinion, methods=["POST"]),
            Route("/a/{token}/undo", pages.undo, methods=["POST"]),
        ]
    )


class AnnotationPages:
    """What answers the requests."""

    def __init__(
        self, store: FeedbackStore, chooser: ItemChooser, style: str, *, frame: str = ""
    ) -> None:
        """`frame` is HTML that stands above the page, where it is a page among others."""
        self.store, self.chooser, self.style = store, chooser, style
        self.frame = frame

    async def start(self, request: Request) -> Response:
        """Where somebody lands who has no link."""
        return self._message("Annotation", "Open the link of your invite to begin.", 200)

    async def page(self, request: Request) -> Response:
        """The page of an invite."""
        try:
            invite = await run_in_threadpool(self.store.invite, request.path_params["token"])
        except FeedbackError as error:
            return self._message(error.problem, error.next_step or "", 403)
        return self._html(
            "annotate.html.j2", 200,
            title=TITLES[invite.kind], kind=invite.kind, who=invite.who,
            script=Markup(_text("annotate.js")), reasons=SKIP_REASONS,
        )  # fmt: skip

    async def next_item(self, request: Request) -> Response:
        """The next item, with how far this person is."""

        def answer(invite: Invite) -> dict[str, Any]:
            item = self.chooser.next_item(invite.who, invite.kind)
            return {
                "item": None if item is None else shown_item(item, invite.who, invite.kind),
                "progress": self._progress(invite),
            }

        return await self._json(request, answer)

    async def take_opinion(self, request: Request) -> Response:
        """Store one opinion."""
        body = await _body(request)
        if isinstance(body, Response):
            return body

        def answer(invite: Invite) -> dict[str, Any]:
            opinion = read_opinion(body, invite)
            stored = self.store.add_opinion(opinion)
            if opinion.kind != "edit" or invite.kind == "edit":
                counts = stored == "stored" and opinion.kind != "skip"
                self.chooser.answered(opinion.item, invite.who, counts=counts)
            return {"status": stored, "progress": self._progress(invite)}

        return await self._json(request, answer)

    async def undo(self, request: Request) -> Response:
        """Take back the opinion with a key; its item comes again."""
        body = await _body(request)
        if isinstance(body, Response):
            return body

        def answer(invite: Invite) -> dict[str, Any]:
            key, id = str(body.get("key", "")), str(body.get("item", ""))
            done = self.store.withdraw_opinion(key, who=invite.who)
            item = self.store.item(id) if done else None
            if done:
                self.chooser.taken_back(id, invite.who)
            return {
                "status": "undone" if done else "gone",
                "item": None if item is None else shown_item(item, invite.who, invite.kind),
                "progress": self._progress(invite),
            }

        return await self._json(request, answer)

    def _progress(self, invite: Invite) -> dict[str, int]:
        return self.chooser.progress(invite.who, invite.kind)

    async def _json(self, request: Request, answer: Callable[[Invite], dict[str, Any]]) -> Response:
        def work() -> dict[str, Any]:
            return answer(self.store.invite(request.path_params["token"]))

        try:
            found = await run_in_threadpool(work)
        except FeedbackError as error:
            gone = "gone" in error.problem or "invite" in error.problem.lower()
            status = 410 if gone else 422
            return JSONResponse({"error": error.problem, "next": error.next_step}, status)
        except StorageError as error:
            return JSONResponse({"error": error.problem, "next": error.next_step}, 503)
        return JSONResponse(found, headers={"Cache-Control": "no-store"})

    def _message(self, title: str, text: str, status: int) -> Response:
        return self._html("message.html.j2", status, title=title, text=text)

    def _html(self, name: str, status: int, **values: Any) -> Response:
        style = self.style + _text("annotate.css")
        script = values.get("script", "")
        page = (
            _environment()
            .get_template(name)
            .render(style=Markup(style), frame=Markup(self.frame), **values)
        )
        allowed = f"'sha256-{_digest(str(script))}'" if script else "'none'"
        policy = (
            f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'self'"
        )
        headers = {
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        }
        return HTMLResponse(page, status, headers)


SKIP_REASONS = (
    "I do not know enough to judge it",
    "Neither answer can be used",
    "The question makes no sense",
    "It is not in a language that I read",
)


def shown_item(item: FeedbackItem, who: str, kind: OpinionKind) -> dict[str, Any]:
    """What a person sees of an item: the answers in an order drawn for them, and no model."""
    answers = shown_answers(item, who, kind)
    return {
        "id": item.id,
        "prompt": [{"role": role, "text": text} for role, text in item.prompt],
        "context": item.context,
        "answers": [{"id": a.id, "text": a.text} for a in answers],
    }


def shown_answers(item: FeedbackItem, who: str, kind: OpinionKind) -> list[ItemAnswer]:
    """Two answers in an order that is drawn for the item and the person; one where one is
    judged."""
    answers = list(item.answers)
    random.Random(f"{item.id} {who}").shuffle(answers)
    return answers[: 2 if kind == "preference" else 1]


def read_opinion(body: dict[str, Any], invite: Invite) -> Opinion:
    """An opinion from a request. FeedbackError where its parts are of the wrong kinds."""

    def text(name: str) -> str | None:
        value = body.get(name)
        if value is not None and not isinstance(value, str):
            raise FeedbackError(f"{name!r} is no text", next_step="Reload the page.")
        return value.encode("utf-8", "replace").decode() if value else None

    def number(name: str) -> float | None:
        value = body.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FeedbackError(f"{name!r} is no number", next_step="Reload the page.")
        return float(value)

    def texts(name: str) -> tuple[str, ...]:
        value = body.get(name) or ()
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise FeedbackError(f"{name!r} is no list of texts", next_step="Reload the page.")
        return tuple(value)[:8]

    opinion = Opinion(
        key=text("key") or "",
        item=text("item") or "",
        kind=text("kind") or invite.kind,  # type: ignore[arg-type]
        who=invite.who,
        answer=text("answer"),
        other=text("other"),
        grade=text("grade"),  # type: ignore[arg-type]
        value=number("value"),
        unsafe=texts("unsafe"),
        shown=texts("shown"),
        text=text("text"),
        seconds=number("seconds"),
    )
    return replace(opinion, key=f"{invite.token[:8]}-{opinion.key}") if opinion.key else opinion


async def _body(request: Request) -> dict[str, Any] | Response:
    """The JSON object of a request; a response that says what is wrong with it."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return JSONResponse({"error": "send JSON"}, 415)
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BYTES:
            return JSONResponse({"error": f"more than {MOST_BYTES:,} bytes"}, 413)
        parts.append(chunk)
    try:
        found = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
        return JSONResponse({"error": "that is no JSON"}, 400)
    if not isinstance(found, dict):
        return JSONResponse({"error": "that is no JSON object"}, 400)
    return found


@lru_cache(maxsize=8)
def _text(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
