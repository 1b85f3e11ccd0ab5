"""Thumbs and edits of the users of a served model, in the same table as all other opinions."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.errors import FeedbackError
from luthier.feedback.exchange.conversation_turns import clean
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import ItemAnswer, Opinion, make_item


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """What was answered to whom: the turns of the prompt as (role, text), the answer, the model's
    name, and a name for the user (an opaque one is enough)."""

    prompt: str | Sequence[tuple[str, str]]
    answer: str
    model: str
    who: str
    context: str | None = None


def keep_thumb(
    store: FeedbackStore, served: GivenAnswer, *, up: bool, comment: str | None = None
) -> str:
    """Store a thumb: "stored", "changed" where this user had given another for this answer, or
    "already" where it was the same."""
    return _keep(store, served, kind="thumb", value=float(up), text=comment)


def keep_edit(store: FeedbackStore, served: GivenAnswer, *, text: str) -> str:
    """Store what the answer should have been. FeedbackError where that is what it was."""
    if clean(text).strip() == served.answer.strip():
        raise FeedbackError(
            "The edit is the answer itself", next_step="Change something, or give a thumb up."
        )
    return _keep(store, served, kind="edit", text=text)


def _keep(
    store: FeedbackStore, served: GivenAnswer, *, kind: str, value: float | None = None,
    text: str | None = None,
) -> str:  # fmt: skip
    turns = served.prompt if isinstance(served.prompt, str) else tuple(served.prompt)
    answer = ItemAnswer("", clean(served.answer), served.model)
    item = make_item(turns, [answer], context=served.context, batch="serving")
    store.add_items([item])
    id = item.answers[0].id
    return store.change_opinion(
        Opinion(
            key=f"serving-{secrets.token_hex(12)}",
            item=item.id,
            kind=kind,  # type: ignore[arg-type]
            who=served.who,
            source="serving",
            answer=id,
            value=value,
            text=clean(text) if text else None,
        )
    )
