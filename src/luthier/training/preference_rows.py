"""Rows of two answers after one prompt, with what the reference model thinks of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from luthier.engine import Session, autocast
from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.rows import TrainRow, rows_for
from luthier.training.shared_prompt import row_logprobs

ROWS_AT_ONCE = 16
MERGED_TOKENS = 2  # by so many the end of a prompt may differ where it merges with an answer


@dataclass(frozen=True, slots=True)
class PreferenceRow(TrainRow):
    """A prompt, an answer (`ids` from `start` on) and a second one.

    `reference`: the log-probabilities of both under the reference model. `good` says what is known
    of the first answer where answers are judged one by one.
    """

    second: tuple[int, ...] = ()
    reference: tuple[float, float] = (0.0, 0.0)
    good: bool = True

    @property
    def answers(self) -> tuple[list[int], ...]:
        """Both, the better one first."""
        return (self.answer, list(self.second))

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and both answers; the prompt counts once."""
        return len(self.ids) + len(self.second)


def preference_rows(
    model: Model, session: Session, examples: Sequence[Example], *, virtual_tokens: int = 0
) -> list[PreferenceRow]:
    """A row for each example with a target and a rejected answer.

    TechniqueError where there is none.
    """
    pairs = [e for e in examples if e.target and e.rejected]
    if not pairs and examples:
        raise TechniqueError(
            "There is no pair of a better and a worse answer to learn from",
            next_step="Name the column of worse answers with `rejected`, or learn from single "
            "answers with kto.",
        )
    better = rows_for(model, session, pairs, virtual_tokens=virtual_tokens)
    worse = rows_for(
        model, session, [replace(e, target=e.rejected or "") for e in pairs],
        virtual_tokens=virtual_tokens,
    )  # fmt: skip
    return [_joined(a, b) for a, b in zip(better, worse, strict=True)]


def kto_rows(
    model: Model, session: Session, examples: Sequence[Example], *, virtual_tokens: int = 0
) -> list[PreferenceRow]:
    """A row for each answer that is known to be good or bad; its second answer is that of the next
    row, by which the objective sees how far the model is from its reference.

    TechniqueError where all are good or all are bad.
    """
    judged = [(e, True) for e in examples if e.target]
    judged += [(replace(e, target=e.rejected), False) for e in examples if e.rejected]
    if judged and len({good for _, good in judged}) < 2:
        kind = "good" if judged[0][1] else "bad"
        raise TechniqueError(
            f"All {len(judged)} answers are {kind}, and kto learns from both kinds",
            next_step="Add some of the other kind; lora and full learn from good answers alone.",
        )
    rows = rows_for(model, session, [e for e, _ in judged], virtual_tokens=virtual_tokens)
    others = rows[1:] + rows[:1]
    return [
        PreferenceRow(row.ids, row.start, tuple(other.answer), good=good)
        for row, other, (_, good) in zip(rows, others, judged, strict=True)
    ]


@torch.inference_mode()
def reference_logprobs(session: Session, rows: Sequence[PreferenceRow]) -> list[PreferenceRow]:
    """The rows with the log-probabilities of their answers under the session as it stands."""
    found: dict[int, tuple[float, float]] = {}
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    for start in range(0, len(order), ROWS_AT_ONCE):
        some = order[start : start + ROWS_AT_ONCE]
        with autocast(session.device, session.dtype):
            logprobs = row_logprobs(session, [rows[i] for i in some], session.soft)
        found |= {i: (a, b) for i, (a, b) in zip(some, logprobs.tolist(), strict=True)}
    return [replace(row, reference=found[i]) for i, row in enumerate(rows)]


def _joined(better: TrainRow, worse: TrainRow) -> PreferenceRow:
    """Both answers after one prompt. Where the last tokens of the prompt merge with an answer they
    belong to the answers; of prompts that were cut in two ways the shorter one stands for both."""
    start = min(better.start, worse.start)
    apart = max(better.start, worse.start) - start
    if better.ids[:start] == worse.ids[:start] and apart <= MERGED_TOKENS:
        return PreferenceRow(better.ids, start, tuple(worse.ids[start:]))
    prompt = min(better.prompt, worse.prompt, key=len)
    return PreferenceRow([*prompt, *better.answer], len(prompt), tuple(worse.answer))
