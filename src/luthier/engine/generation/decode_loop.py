"""The decode loop: sequences join a batch, take a token a step, and leave it when they finish.

Which sequences share a batch changes nothing but rounding: a sequence attends to itself only, and
its randomness is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from luthier.engine.generation.choose_tokens import next_tokens, reweighted
from luthier.engine.generation.decoder_batch import DecoderBatch
from luthier.engine.generation.encoder_decoder_batch import EncoderDecoderBatch
from luthier.engine.generation.sequence_state import SequenceState
from luthier.engine.session import Session

MOST_ROWS = 32
JOIN_AT = 4  # sequences join when one row in this many is free: a prefill of one is dear


class GenerationBatch(Protocol):
    """Rows of tokens that grow by one token a step: a `DecoderBatch` or an `EncoderDecoderBatch`.

    `most` is how many rows there may be at once, `computed` how many tokens were run so far.
    """

    session: Session
    computed: int
    most: int

    @property
    def free(self) -> int: ...
    def admit(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor: ...
    def step(self, tokens: Sequence[int]) -> torch.Tensor: ...
    def keep(self, order: Sequence[int]) -> None: ...


class DecodeLoop:
    """Generates all answers, at most `most` rows at once.

    All of them have a negative prompt or none has. A sequence takes a row for each vote, and as
    many of a second batch for its negative prompts.
    """

    def __init__(
        self, session: Session, sequences: Sequence[SequenceState], *, most: int = MOST_ROWS
    ) -> None:
        self._votes = len(sequences[0].prompts)
        sides = [[s.prompts for s in sequences]]
        if sequences[0].negative_prompts:
            sides.append([s.negative_prompts for s in sequences])
        longest = max(s.max_tokens for s in sequences)
        self._batches = [
            _batch(session, side, most=max(most, self._votes), longest_answer=longest)
            for side in sides
        ]
        self._most = min(batch.most for batch in self._batches) // self._votes
        # The longest first, so that their neighbours are long too; equal prompts stay neighbours.
        self._waiting = sorted(sequences, key=lambda s: -len(s.prompts[0]))
        self._live: list[SequenceState] = []
        self._logits: list[torch.Tensor] = []  # (live, votes, vocabulary) of each batch
        self._weights = torch.empty(0)  # log-weights (live, votes)

    @property
    def finished(self) -> bool:
        """Whether every answer is finished."""
        return not self._waiting and not self._live

    @property
    def computed(self) -> int:
        """Tokens computed so far."""
        return sum(batch.computed for batch in self._batches)

    def step(self, session: Session) -> None:
        """One token for every live sequence; those that wait join where there are free rows.

        `session` is the one the loop began with, or another one of the same base and adaptation.
        """
        for batch in self._batches:
            batch.session = session
        if self._live:
            last = [s.tokens[-1] for s in self._live for _ in range(self._votes)]
            shape = len(self._live), self._votes, -1
            self._logits = [batch.step(last).view(shape) for batch in self._batches]
        self._admit(session)
        tokens = next_tokens(self._logits, self._weights, self._live)
        if self._votes > 1:
            self._weights = reweighted(self._weights, self._logits[0], tokens)
        for sequence, token in zip(self._live, tokens.tolist(), strict=True):
            sequence.append(session.tokenizer, token)
        staying = [i for i, s in enumerate(self._live) if not s.finished]
        if len(staying) < len(self._live):
            order = compacted(staying)
            self._live, self._weights = [self._live[i] for i in order], self._weights[order]
            for batch in self._batches:
                batch.keep([i * self._votes + v for i in order for v in range(self._votes)])

    def _admit(self, session: Session) -> None:
        rows = min(batch.free for batch in self._batches)
        free = min(rows // self._votes, self._most - len(self._live))
        if not self._waiting or free <= 0 or (self._live and free * JOIN_AT < self._most):
            return
        joining, self._waiting = self._waiting[:free], self._waiting[free:]
        shape = len(joining), self._votes
        even = torch.full(shape, 1.0 / self._votes, device=session.device).log()
        for k, batch in enumerate(self._batches):
            prompts = [p for s in joining for p in (s.negative_prompts if k else s.prompts)]
            first = batch.admit(prompts).view(*shape, -1)
            if self._live:
                self._logits[k] = torch.cat([self._logits[k], first])
            else:
                self._logits[k:] = [first]
        self._weights = torch.cat([self._weights, even]) if self._live else even
        self._live = self._live + joining


def compacted(staying: Sequence[int]) -> list[int]:
    """An order of the rows that stay in which as few as possible change their place."""
    kept = set(staying)
    movers = [i for i in staying if i >= len(staying)]
    return [i if i in kept else movers.pop() for i in range(len(staying))]


def _batch(
    session: Session, side: Sequence[list[list[int]]], *, most: int, longest_answer: int
) -> GenerationBatch:
    if session.encoder_decoder:
        return EncoderDecoderBatch(session, most=most)
    prompts = [prompt for prompts in side for prompt in prompts]
    return DecoderBatch(session, prompts, most=most, longest_answer=longest_answer)
