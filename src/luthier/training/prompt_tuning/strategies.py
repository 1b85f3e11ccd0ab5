"""Three strategies to train virtual tokens over a frozen decoder; what is shared is computed once.

After the input (`SoftSuffix`), each trial is a branch of virtual tokens and answer over the input's
cached keys and values. Before it (`SoftPrefix`), the virtual tokens, and what all inputs begin
with, run once a step for each trial, and every row of the batch reads their keys and values;
gradients flow back through these. A `KeyValuePrefix` is keys and values itself, and runs not at
all. B rows, K trials, J answers a row, P virtual tokens, H width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from luthier.engine import Session
from luthier.training.prompt_tuning.batched_forward import Columns, tail_logprobs
from luthier.training.prompt_tuning.cached_inputs import CachedInputs, common_prefix
from luthier.training.prompt_tuning.past_key_values import PaddedPast
from luthier.training.prompt_tuning.prefill import prefill

Ids = list[int]


class Strategy(Protocol):
    """How K soft prompts and B prompts with J answers each become log-probabilities."""

    def logprobs(
        self, softs: Sequence[torch.Tensor], prompts: Sequence[Ids], answers: Sequence[list[Ids]]
    ) -> torch.Tensor:
        """(B, K, J) summed natural log-probabilities; `softs` are (P, H), of any lengths."""
        ...

    def one_time_cost(self, prompts: Sequence[Ids]) -> int:
        """Tokens that the next call computes and later calls find cached."""
        ...

    def fill_cache(self, prompts: Sequence[Ids]) -> None:
        """Compute these now."""
        ...

    def step_cost(self, length: int, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> int:
        """Tokens that every call computes for one soft prompt of `length`."""
        ...


class SoftSuffix:
    """[input, cached] [virtual tokens] [answer]: a row of each trial reads every input."""

    def __init__(self, session: Session, prompts: Sequence[Ids]) -> None:
        self.session = session
        self.inputs = CachedInputs(session, prompts)

    def logprobs(
        self, softs: Sequence[torch.Tensor], prompts: Sequence[Ids], answers: Sequence[list[Ids]]
    ) -> torch.Tensor:
        """(B, K, J), as in `Strategy`."""
        past = self.inputs.take(prompts)
        prefixes = [[ids] for _ in prompts for ids in virtual_ids(self.session, softs)]
        tails = [row for row in answers for _ in softs]
        found = tail_logprobs(self.session, past, Columns(prefixes, tails), _joined(softs))
        return found.reshape(len(prompts), len(softs), -1)

    def one_time_cost(self, prompts: Sequence[Ids]) -> int:
        """The tokens of inputs that are not cached yet."""
        return self.inputs.missing(prompts)

    def fill_cache(self, prompts: Sequence[Ids]) -> None:
        """Compute the keys and values of the inputs and keep them."""
        self.inputs.take(prompts)

    def step_cost(self, length: int, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> int:
        """Count virtual tokens and answers."""
        return length * len(prompts) + _tails(answers)


class SoftPrefix:
    """[BOS] [virtual tokens] [what inputs share] runs once a trial, then [input] [answer] for the B
    rows of each trial."""

    def __init__(self, session: Session, prompts: Sequence[Ids]) -> None:
        self.session = session
        bos = session.tokenizer.bos_token_id
        self.first = [bos] if all(len(p) > 1 and p[0] == bos for p in prompts) else []
        self.shared = common_prefix(prompts)[len(self.first) :]

    def logprobs(
        self, softs: Sequence[torch.Tensor], prompts: Sequence[Ids], answers: Sequence[list[Ids]]
    ) -> torch.Tensor:
        """(B, K, J), as in `Strategy`."""
        session, soft, rows = self.session, _joined(softs), len(prompts)
        prefixes = [self.first + v + self.shared for v in virtual_ids(session, softs)]
        past = prefill(session, prefixes, soft)
        skip = len(self.first) + len(self.shared)
        prefixes = [[p[skip:]] for p in prompts] * len(softs)
        columns = Columns(prefixes, list(answers) * len(softs))
        out = tail_logprobs(session, past, columns, soft)
        return out.reshape(len(softs), rows, -1).transpose(0, 1)

    def one_time_cost(self, prompts: Sequence[Ids]) -> int:
        """Zero: nothing outlives a step, for everything depends on the virtual tokens."""
        return 0

    def fill_cache(self, prompts: Sequence[Ids]) -> None:
        """Do nothing: there is nothing to cache."""

    def step_cost(self, length: int, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> int:
        """Count the prefix once, then inputs and answers."""
        skip = len(self.first) + len(self.shared)
        return skip + length + sum(len(p) - skip for p in prompts) + _tails(answers)


class KeyValuePrefix:
    """Rows of each trial behind keys and values that are parameters themselves, (P, W) a trial, so
    that no step computes a prefix. `shape` is (layers, 2, key heads, head width), whose product is
    W."""

    def __init__(self, session: Session, shape: torch.Size) -> None:
        self.session, self.shape = session, shape

    def logprobs(
        self, softs: Sequence[torch.Tensor], prompts: Sequence[Ids], answers: Sequence[list[Ids]]
    ) -> torch.Tensor:
        """(B, K, J); the trials' prefixes are of one length."""
        kept = torch.stack(list(softs)).to(self.session.dtype)
        kept = kept.reshape(*kept.shape[:2], *self.shape)
        pairs = kept.permute(2, 3, 0, 4, 1, 5)  # (layers, 2, K, key heads, P, head width)
        past = PaddedPast([(k, v) for k, v in pairs], torch.tensor([len(s) for s in softs]))
        prefixes = [[row] for row in self._rows(prompts)] * len(softs)
        out = tail_logprobs(
            self.session, past, Columns(prefixes, list(answers) * len(softs)), self.session.soft
        )
        return out.reshape(len(softs), len(prompts), -1).transpose(0, 1)

    def one_time_cost(self, prompts: Sequence[Ids]) -> int:
        """Zero: inputs depend on the prefix."""
        return 0

    def fill_cache(self, prompts: Sequence[Ids]) -> None:
        """Do nothing: there is nothing to cache."""

    def step_cost(self, length: int, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> int:
        """Count inputs and answers; the prefix is there already."""
        return sum(len(row) for row in self._rows(prompts)) + _tails(answers)

    def _rows(self, prompts: Sequence[Ids]) -> list[Ids]:
        return [self.session.insert_virtual(p, len(p)) for p in prompts]


def virtual_ids(session: Session, softs: Sequence[torch.Tensor]) -> list[Ids]:
    """The ids of each trial's virtual tokens in the joined tensor."""
    out, at = [], session.vocabulary
    for soft in softs:
        out.append(list(range(at, at + len(soft))))
        at += len(soft)
    return out


def _joined(softs: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat(list(softs)).unsqueeze(0)


def _tails(answers: Sequence[list[Ids]]) -> int:
    return sum(len(a) - 1 for row in answers for a in row)
