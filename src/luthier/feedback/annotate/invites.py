"""Invite links: one person, one link, until a day."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from luthier.errors import FeedbackError
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import OPINION_KINDS, Invite, OpinionKind


def invite_of(
    store: FeedbackStore, who: str, *, kind: OpinionKind = "preference", days: float | None = None
) -> Invite:
    """The invite of a person for that kind of opinion; the one there is, else a new one."""
    if kind not in OPINION_KINDS or kind == "skip":
        choices = tuple(k for k in OPINION_KINDS if k != "skip")
        raise FeedbackError(
            f"Nobody can be asked for {kind!r}", choices=choices, next_step="Name one of these."
        )
    if not who.strip():
        raise FeedbackError("An invite names nobody", next_step="Give a name.")
    now = datetime.now(UTC)
    if days is None:
        for invite in store.invites():
            if (invite.who, invite.kind, invite.expires) == (who, kind, None):
                return invite
    expires = None
    if days is not None:
        expires = (now + timedelta(days=days)).isoformat(timespec="milliseconds")
    invite = Invite(secrets.token_urlsafe(16), who.strip(), kind, expires)
    store.add_invite(invite)
    return invite
