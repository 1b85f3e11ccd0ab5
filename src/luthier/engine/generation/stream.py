"""The text of one request in pieces, while it is generated.

A piece is text that no later token can change or take back: the beginning of a stop string, a
character of which a part is missing, and white space at the end are held back until what follows
decides about them. So the join of all pieces is the text that `generate` returns.
"""

from __future__ import annotations

import re
from typing import Any

from luthier.engine.generation.decode_loop import DecodeLoop
from luthier.engine.generation.generate import sequences_of
from luthier.engine.generation.sequence_state import SequenceState
from luthier.engine.memory import out_of_memory, too_large
from luthier.engine.session import Session
from luthier.models.adaptation import Adaptation
from luthier.models.backend import GenerateRequest

BYTE = re.compile("<0x[0-9A-F]{2}>")  # how tokenizers write a token of one byte
INCOMPLETE = "\ufffd"  # what a part of a character decodes to


class TextStream:
    """The first sample of one request. `text` is what was returned so far.

    A stream keeps nothing of the session it began in: `step` takes one, so that other requests may
    run between two steps.
    """

    def __init__(self, session: Session, request: GenerateRequest, adaptation: Adaptation) -> None:
        self._sequence = sequences_of(session, request, adaptation).sequences[0]
        self._loop: DecodeLoop | None = None
        self.text = ""

    @property
    def finished(self) -> bool:
        """Whether the whole text was returned."""
        return self._sequence.finished

    def step(self, session: Session) -> str:
        """Generate one token, and return what is certain of the text now; often nothing.

        `session` has the adaptation that the stream began with. BackendError where memory does not
        suffice.
        """
        try:
            if self._loop is None:
                self._loop = DecodeLoop(session, [self._sequence], most=1)
            self._loop.step(session)
        except (RuntimeError, MemoryError) as error:
            if out_of_memory(error):
                raise too_large("A single answer") from error
            raise
        text = self._sequence.text
        if not self._sequence.finished:
            text = settled_text(session.tokenizer, self._sequence)
            if not text.startswith(self.text):
                return ""
        piece, self.text = text[len(self.text) :], text
        return piece


def settled_text(tokenizer: Any, sequence: SequenceState) -> str:
    """What is certain of the text of an answer that goes on."""
    special = set(tokenizer.all_special_ids)
    tokens = [token for token in sequence.tokens if token not in special]
    # Single bytes that are no characters together would turn all of them into placeholders.
    while tokens and BYTE.fullmatch(str(tokenizer.convert_ids_to_tokens(tokens[-1]))):
        tokens.pop()
    text = tokenizer.decode(tokens, skip_special_tokens=True).lstrip().rstrip(INCOMPLETE)
    end = len(text)
    for mark in sequence.stop:
        parts = (mark[:n] for n in range(len(mark) - 1, 0, -1))
        end = min(end, len(text) - next((len(p) for p in parts if text.endswith(p)), 0))
    text = text[:end].rstrip()
    if getattr(tokenizer, "clean_up_tokenization_spaces", False):
        # Decoding closes up " ." and " 's" once they are whole: only words before the last stay.
        text = text[: max((m.start() for m in re.finditer(r"\s+", text)), default=0)]
    return str(text)
