"""What a server of the OpenAI API can be asked for, and in which form."""

from __future__ import annotations

from collections.abc import Generator

from luthier.errors import CapabilityError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.endpoint_replies import ChatReply


def check_settings(name: str, decoding: Decoding) -> None:
    """CapabilityError for what the API has no setting for."""
    beyond = []
    if decoding.regex is not None:
        beyond.append("regex")
    if decoding.guidance != 1.0:
        beyond.append("guidance_scale")
    if beyond:
        raise CapabilityError(
            f"{name} cannot follow {' and '.join(beyond)}: the API has no such setting",
            next_step="Open the same weights locally.",
        )


def check_slots(name: str, adaptation: Adaptation) -> None:
    """CapabilityError for slots that a server of text cannot carry."""
    beyond = set(adaptation.filled) - {"prompt", "decoding", "tools"}
    if beyond:
        raise CapabilityError(
            f"{name} cannot carry {', '.join(sorted(beyond))}: it is a server of text",
            next_step="Open the same weights locally.",
        )


def stops_of(decoding: Decoding) -> tuple[str, ...]:
    """The strings that end a text here. A label may stand below an introduction, so that line ends
    do not count before it."""
    if decoding.json_schema is not None:
        return ()
    return tuple(s for s in decoding.stop if s.strip() or not decoding.labels)


def first_text(reply: ChatReply) -> Generator[str]:
    """The text of a reply as the one piece of a stream."""
    yield str(reply["texts"][0])
