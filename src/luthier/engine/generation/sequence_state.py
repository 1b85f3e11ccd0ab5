"""The state of one answer while it is generated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from luthier.engine.generation.constraint import Constraint
from luthier.engine.session import Session


@dataclass(slots=True, eq=False)
class SequenceState:
    """One answer: what it follows, how it is chosen, and what there is of it so far.

    `prompts` are the prompt's ids, virtual tokens in place, one list for each vote;
    `negative_prompts` the same for the negative prompt, empty without guidance. At most
    `max_tokens` are generated; the ids `ends` and the texts `stop` end the answer before.

    `finished`: nothing will be added. `complete`: the answer ended by itself and was not cut at
    `max_tokens`; under a constraint, it is an answer that the constraint allows.
    """

    prompts: list[list[int]]
    negative_prompts: list[list[int]]
    max_tokens: int
    ends: tuple[int, ...]
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    guidance_scale: float = 1.0
    constraint: Constraint | None = None
    generator: torch.Generator | None = None
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finished: bool = False
    complete: bool = False

    def restart(self) -> None:
        """Forget what was generated. Where it is sampled, the randomness starts over too."""
        self.tokens, self.text = [], ""
        if self.constraint is not None:
            self.constraint.restart()
        if self.generator is not None:
            self.generator.manual_seed(self.generator.initial_seed())

    def append(self, tokenizer: Any, token: int) -> None:
        """Add a token, and see whether the answer is finished."""
        self.tokens.append(token)
        if token in self.ends:
            self.finished = self.complete = True
        elif self.constraint is not None:
            self.constraint.append(token)
            self.finished = self.complete = self.constraint.finished
        self.finished = self.finished or len(self.tokens) >= self.max_tokens
        if not self.finished and not self.stop:
            return  # decoded only where it matters: at the end, and on the way for stop strings
        tokens = self.tokens[:-1] if token in self.ends else self.tokens
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        start = len(text) - len(text.lstrip())
        found = [at for at in (text.find(mark, start) for mark in self.stop) if at >= 0]
        if found:
            self.finished, self.complete, text = True, True, text[: min(found)]
        self.text = text.strip()
        if self.finished and self.constraint is not None:
            self.complete = self.constraint.accepts(text)


def end_tokens(session: Session, stop: tuple[str, ...] = ()) -> tuple[int, ...]:
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
