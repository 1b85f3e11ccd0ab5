"""Answers written together: rows come in, step, end, and make room for those that wait.

The order of company changes nothing but rounding: a row attends to itself only, and its randomness
is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from luthier.engine.generation.cache_slots import CacheSlots
from luthier.engine.generation.constraint import Constraint
from luthier.engine.generation.encoder_decoder_rows import EncoderDecoderRows
from luthier.engine.generation.sampling import guided, mixed, reweighed, sampled
from luthier.engine.session import Session

MOST_ROWS = 32
JOIN_AT = 4  # new rows come in when one slot in this many is free: a prefill of one is dear


@dataclass(slots=True, eq=False)
class Generation:
    """One answer: what it follows, how it is chosen, and what there is of it so far.

    `rows` are the prompt's ids, virtual tokens in place, one row for each vote; `negative` the same
    for the negative prompt, empty without guidance. `room` is how many tokens may be written,
    `ends` the ids and `stop` the texts that end it.
    """

    rows: list[list[int]]
    negative: list[list[int]]
    room: int
    ends: tuple[int, ...]
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    guidance_scale: float = 1.0
    constraint: Constraint | None = None
    generator: torch.Generator | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    over: bool = False
    whole: bool = False  # over by itself, not cut by `room`; under a grammar: an answer it allows

    def begin_again(self) -> None:
        """Forget what was written. Where it is sampled, the randomness starts over too."""
        self.tokens, self.text = [], ""
        if self.constraint is not None:
            self.constraint.begin_again()
        if self.generator is not None:
            self.generator.manual_seed(self.generator.initial_seed())

    def take(self, tokenizer: Any, token: int) -> None:
        """Add a token, and see whether the answer is over."""
        self.tokens.append(token)
        if token in self.ends:
            self.over = self.whole = True
        elif self.constraint is not None:
            self.constraint.take(token)
            self.over = self.whole = self.constraint.over
        self.over = self.over or len(self.tokens) >= self.room
        if not self.over and not self.stop:
            return  # decoded only where it matters: at the end, and on the way for stop strings
        said = self.tokens[:-1] if token in self.ends else self.tokens
        text = tokenizer.decode(said, skip_special_tokens=True)
        start = len(text) - len(text.lstrip())
        found = [at for at in (text.find(mark, start) for mark in self.stop) if at >= 0]
        if found:
            self.over, self.whole, text = True, True, text[: min(found)]
        self.text = text.strip()
        if self.over and self.constraint is not None:
            self.whole = self.constraint.fits_whole(text)


class Rows(Protocol):
    """What steps rows: `CacheSlots` or `EncoderDecoderRows`."""

    computed: int
    most: int

    @property
    def free(self) -> int: ...
    def admit(self, prompts: Sequence[Sequence[int]]) -> torch.Tensor: ...
    def step(self, tokens: Sequence[int]) -> torch.Tensor: ...
    def keep(self, order: Sequence[int]) -> None: ...


def decode(session: Session, generations: Sequence[Generation], *, most: int = MOST_ROWS) -> int:
    """Write all answers, `most` rows at once; how many tokens were computed. All have a negative
    prompt or none has."""
    if not generations:
        return 0
    votes = len(generations[0].rows)
    sides = [[w.rows for w in generations]]
    if generations[0].negative:
        sides.append([w.negative for w in generations])
    longest = max(w.room for w in generations)
    batches = [_lane(session, side, most=max(most, votes), longest=longest) for side in sides]
    together = min(batch.most for batch in batches) // votes
    # The longest first, so that their neighbours are long too; equal prompts stay neighbours.
    waiting = sorted(generations, key=lambda w: -len(w.rows[0]))
    live: list[Generation] = []
    logits: list[torch.Tensor] = []
    weights = torch.empty(0)
    while waiting or live:
        free = min(min(batch.free for batch in batches) // votes, together - len(live))
        if waiting and free > 0 and (not live or free * JOIN_AT >= together):
            joining, waiting = waiting[:free], waiting[free:]
            even = torch.full((len(joining), votes), 1.0 / votes, device=session.device).log()
            for k, batch in enumerate(batches):
                asked = [w.negative if k else w.rows for w in joining]
                first = batch.admit([row for rows in asked for row in rows])
                first = first.view(len(joining), votes, -1)
                if live:
                    logits[k] = torch.cat([logits[k], first])
                else:
                    logits[k:] = [first]
            weights = torch.cat([weights, even]) if live else even
            live = live + joining
        chosen = _choose(logits, weights, live)
        if votes > 1:
            weights = reweighed(weights, logits[0], chosen)
        for generation, token in zip(live, chosen.tolist(), strict=True):
            generation.take(session.tokenizer, token)
        stay = [i for i, w in enumerate(live) if not w.over]
        if len(stay) < len(live):
            order = closed(stay)
            live, weights = [live[i] for i in order], weights[order]
            for batch in batches:
                batch.keep([i * votes + v for i in order for v in range(votes)])
        if live:
            last = [w.tokens[-1] for w in live for _ in range(votes)]
            logits = [batch.step(last).view(len(live), votes, -1) for batch in batches]
    return sum(batch.computed for batch in batches)


def closed(stay: Sequence[int]) -> list[int]:
    """An order of the rows that stay in which as few as possible change their place."""
    kept = set(stay)
    movers = [i for i in stay if i >= len(stay)]
    return [i if i in kept else movers.pop() for i in range(len(stay))]


def ends_of(session: Session, stop: Sequence[str] = ()) -> tuple[int, ...]:
    """The ids that end an answer: those of the model's generation config, and stop strings that
    are special tokens."""
    config = getattr(session.module, "generation_config", None)
    found: Any = getattr(config, "eos_token_id", None)
    ids = [found] if isinstance(found, int) else list(found or ())
    if session.tokenizer.eos_token_id is not None:
        ids.append(session.tokenizer.eos_token_id)
    special = dict(
        zip(session.tokenizer.all_special_tokens, session.tokenizer.all_special_ids, strict=True)
    )
    ids += [special[s] for s in stop if s in special]
    return tuple(dict.fromkeys(int(i) for i in ids))


def _lane(session: Session, side: Sequence[list[list[int]]], *, most: int, longest: int) -> Rows:
    if session.encoder_decoder:
        return EncoderDecoderRows(session, most=most)
    return CacheSlots(
        session, [r for rows in side for r in rows], most=most, longest_answer=longest
    )


def _choose(
    logits: Sequence[torch.Tensor], weights: torch.Tensor, live: Sequence[Generation]
) -> torch.Tensor:
    """(B,) ids."""
    one_vote = logits[0].shape[1] == 1
    views = [x[:, 0] if one_vote else mixed(x, weights) for x in logits]
    values = views[0]
    if len(views) == 2:
        scale = torch.tensor([[w.guidance_scale] for w in live], device=values.device)
        values = guided(views[0], views[1], scale)
    masks = [None if w.constraint is None else w.constraint.allowed() for w in live]
    for b, mask in enumerate(masks):
        if mask is not None:
            values[b].masked_fill_(~mask.to(values.device), -torch.inf)
    tokens = values.argmax(-1)
    for b, generation in enumerate(live):
        if generation.generator is not None:
            heat = generation.temperature
            tokens[b] = sampled(values[b], temperature=heat, generator=generation.generator)
    return tokens
