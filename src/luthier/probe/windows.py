"""Documents cut into windows of a paragraph or two, and a sample of them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.probe.probed_text import ProbedText

CHARACTERS = 800  # of a window, about 200 tokens of English
LEAST_CHARACTERS = 40  # what is shorter tells nothing
_END = re.compile(r"(?<=[.!?。！？।])\s+|\n+")


@dataclass(frozen=True, slots=True)
class TextWindow:
    """A stretch of a document. `document` and `section` are their numbers."""

    document: int
    section: int
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class WindowSample:
    """The windows that were drawn, `of` so many in `documents_of` documents. `too_short` counts the
    documents without a window."""

    windows: tuple[TextWindow, ...]
    of: int
    documents_of: int
    too_short: int


def sample_windows(
    texts: Sequence[ProbedText], *, documents: int, characters: int, seed: int
) -> WindowSample:
    """At most so many documents and characters, drawn evenly: a window of each document, then a
    second of each, and so on. Windows of one document keep their order."""
    cut = [list(cut_windows(number, text)) for number, text in enumerate(texts)]
    draw = random.Random(seed)
    usable = [windows for windows in cut if windows]
    chosen = draw.sample(usable, min(documents, len(usable)))
    queues = [draw.sample(windows, len(windows)) for windows in chosen]
    taken: list[TextWindow] = []
    left = characters
    while left > 0 and any(queues):
        for queue in queues:
            if queue and left > 0:
                taken.append(queue.pop())
                left -= len(taken[-1].text)
    order = {id(window): place for place, window in enumerate(w for ws in cut for w in ws)}
    return WindowSample(
        tuple(sorted(taken, key=lambda window: order[id(window)])),
        of=sum(map(len, cut)),
        documents_of=len(texts),
        too_short=len(cut) - len(usable),
    )


def cut_windows(number: int, text: ProbedText) -> list[TextWindow]:
    """The windows of one document; none crosses a section's end."""
    windows = []
    sections = text.sections or ()
    spans = [(s.start, s.end, " > ".join(s.headings)) for s in sections] or [
        (0, len(text.text), "")
    ]
    for section, (start, end, heading) in enumerate(spans):
        for part in _stretches(text.text[start:end]):
            if len(part) >= LEAST_CHARACTERS:
                windows.append(TextWindow(number, section, heading, part))
    return windows


def sentences(text: str) -> list[str]:
    """Rough sentences and lines, without what is between them."""
    return [piece for piece in (part.strip() for part in _END.split(text)) if piece]


def _stretches(text: str) -> list[str]:
    """Parts of about `CHARACTERS` that end where a sentence or a line does, if one does."""
    parts, start = [], 0
    text = text.strip()
    while start < len(text):
        end = min(len(text), start + CHARACTERS)
        if end < len(text):
            ends = [m.start() for m in _END.finditer(text, start + CHARACTERS // 2, end)]
            end = ends[-1] if ends else max(text.rfind(" ", start + 1, end), start) or end
            end = end if end > start else min(len(text), start + CHARACTERS)
        parts.append(text[start:end].strip())
        start = end
    return parts
