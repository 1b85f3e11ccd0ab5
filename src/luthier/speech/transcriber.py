"""The contract of what turns speech into text, and how a name leads to one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from luthier import registry
from luthier.errors import TaskError
from luthier.speech.sound_file import Samples

DEFAULT = "pocketsphinx"
NEED_A_PLACE = ("whisper", "endpoint")  # a folder or an address names them


class Transcriber(ABC):
    """Turns speech into text, one piece of a recording at a time.

    `name` is as a user writes it. `identity` tells apart what transcribes differently: a cached
    transcript is found again under it. `piece_seconds` is the longest piece that it hears at once;
    `concurrent`: several pieces may be heard at the same time.
    """

    name: str
    identity: str
    piece_seconds: float = 30.0
    concurrent: bool = False

    @abstractmethod
    def hear(self, samples: Samples) -> str:
        """The words in mono samples at 16 kHz, float32 in [-1, 1]; "" where there are none."""


def names_transcriber(name: str) -> bool:
    """Whether a name is a registered one or an address, and not the path of a folder."""
    if registry.addressed("transcribers", name) is not None:
        return name not in NEED_A_PLACE
    return registry.has("transcribers", name) and name not in NEED_A_PLACE


def open_transcriber(name: str) -> Transcriber:
    """The transcriber of "pocketsphinx", the folder of a Whisper model, "http://host/v1#model", or
    a plugin's "NAME:…".

    TaskError for an unknown name or a package that is missing, ModelError for a folder that holds
    no Whisper, BackendError for a server that cannot be reached.
    """
    kind = None
    if names_transcriber(name):
        kind = registry.addressed("transcribers", name) or name
    elif Path(name).expanduser().is_dir():
        kind = "whisper"
    if kind is None:
        raise TaskError(
            f"there is no transcriber {name!r}",
            choices=(
                *(n for n in registry.names("transcribers") if n not in NEED_A_PLACE),
                "the folder of a Whisper model",
                "http://HOST/v1#MODEL",
            ),
            next_step="Name one of these in `transcribe`.",
        )
    opener: Any = registry.get("transcribers", kind)
    opened: Transcriber = opener(name)
    return opened
