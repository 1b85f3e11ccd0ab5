"""Whether the answers of a server are of any use: a dozen that are not end a technique early.

A server whose model thinks past the limit, or that says nothing, would else be asked thousands of
times, for an accuracy of 0 that is not the technique's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from luthier.content import FinishReason, Response
from luthier.errors import BackendError

PATIENCE = 12


class AnswerWatch:
    """Counts useless answers since the last `restart`.

    It ends the work where the first dozen are of no use (a prompt that the model does not follow),
    or where a dozen in a row are empty (a server that has come to its end).
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin to count anew: another technique, or another split."""
        self._seen = 0
        self._useless: Counter[FinishReason] = Counter()
        self._empty = 0
        self._said = ""

    def go_on(self) -> None:
        """Begin to count anew, unless no answer was of use so far."""
        if self.patience is None:
            self.restart()

    @property
    def patience(self) -> int | None:
        """How many answers to ask for before any more are; None once answers were of use."""
        if self._seen > sum(self._useless.values()):
            return None
        return max(1, PATIENCE - self._seen)

    def look_at(self, name: str, responses: Sequence[Response], *, limit: int) -> None:
        """Count the answers of the server `name`, which were at most `limit` tokens long.

        BackendError where they are of no use.
        """
        for response in responses:
            self._seen += 1
            useless = response.parsed is None and not response.tool_calls
            self._empty = self._empty + 1 if useless and not response.text.strip() else 0
            if useless:
                self._useless[response.finish_reason] += 1
                self._said = self._said or response.text.strip()
        first = self._seen == sum(self._useless.values()) and self._seen >= PATIENCE
        if first or self._empty >= PATIENCE:
            raise self._error(name, limit)

    def _error(self, name: str, limit: int) -> BackendError:
        found = self._useless
        reasons, steps = [], []
        if found["thinking"]:
            reasons.append(f"{found['thinking']} ended inside a thought, at the limit of {limit} "
                           "new tokens, before any answer")  # fmt: skip
            steps.append("Raise max_new_tokens in the task file (thoughts count), or switch "
                         "thinking off at the server.")  # fmt: skip
        if found["length"]:
            reasons.append(f"{found['length']} were cut at the limit of {limit} new tokens")
            steps.append("Raise max_new_tokens in the task file.")
        if found["filtered"]:
            reasons.append(f"{found['filtered']} were withheld by the server's filter")
            steps.append("Ask a server without such a filter.")
        if found["stop"]:
            said = f"; the first says: {self._said[:120]!r}" if self._said else " (they are empty)"
            reasons.append(f"{found['stop']} hold no answer that can be read{said}")
            steps.append("Say in the instruction what an answer looks like, or look at the "
                         "server's log.")  # fmt: skip
        return BackendError(
            f"{name} gave no answer of use to {sum(found.values())} of {self._seen} requests: "
            f"{', '.join(reasons)}",
            next_step=" ".join(dict.fromkeys(steps)),
        )
