"""Two ways of training soft prompts over a frozen decoder that compute what is shared once.

After the input, each trial is a branch of (virtual tokens + answer) over the input's cached keys
and values. Before it, the virtual tokens (and what all inputs begin with) run once a step for each
trial, and every row of the batch reads their keys and values; gradients flow back through these.
B rows, K trials, J answers a row, P virtual tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from luthier.models.local.session import Session
from luthier.training.soft.branches import Columns, log_likelihoods
from luthier.training.soft.cached_inputs import CachedInputs, common_prefix
from luthier.training.soft.prefill import prefill

Ids = list[int]


class Way(Protocol):
    """How K soft prompts and B prompts with J answers each become log-likelihoods."""

    def likelihoods(
        self, softs: Sequence[torch.Tensor], prompts: Sequence[Ids], answers: Sequence[list[Ids]]
    ) -> torch.Tensor:
        """(B, K, J) summed natural log-probabilities; `softs` are (P, H), of any lengths."""
        ...

    def standing(self, prompts: Sequence[Ids]) -> int:
        """Tokens that the next call computes and later calls need not."""
        ...

    def hold(self, prompts: Sequence[Ids]) -> None:
        """Compute these now."""
        ...

    def moving(self, length: int, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> int:
        """Tokens that every call computes for one soft prompt of `length`."""
        ...


class AfterInput:
    """[input, cached] [virtual tokens] [answer]: every input is read by a row of each trial."""

    def __init__(self, session: Session, prompts: Sequence[Ids]) -> None:
        self.session = session
        self.inputs = CachedInputs(session, prompts)

    def likelihoods(
        self, softs: Sequence[torch.Tensor], prompts: Sequence[Ids], answers: Sequence[list[Ids]]
    ) -> torch.Tensor:
        """(B, K, J)."""
        past = self.inputs.take(prompts)
        trunks = [[ids] for _ in prompts for ids in virtual_ids(self.session, softs)]
        tails = [row for row in answers for _ in softs]
        found = log_likelihoods(self.session, past, Columns(trunks, tails), _joined(softs))
        return found.reshape(len(prompts), len(softs), -1)

    def standing(self, prompts: Sequence[Ids]) -> int:
        """The inputs that are not held yet."""
        return self.inputs.missing(prompts)

    def hold(self, prompts: Sequence[Ids]) -> None:
        """The inputs' keys and values."""
        self.inputs.take(prompts)

    def moving(self, length: int, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> int:
        """Virtual tokens and answers."""
        return length * len(prompts) + _tails(answers)


class BeforeInput:
    """[BOS] [virtual tokens] [what inputs share], once a trial; then [input] [answer], B rows of
    each trial."""

    def __init__(self, session: Session, prompts: Sequence[Ids]) -> None:
        self.session = session
        bos = session.tokenizer.bos_token_id
        self.first = [bos] if all(len(p) > 1 and p[0] == bos for p in prompts) else []
        self.shared = common_prefix(prompts)[len(self.first) :]

    def likelihoods(
        self, softs: Sequence[torch.Tensor], prompts: Sequence[Ids], answers: Sequence[list[Ids]]
    ) -> torch.Tensor:
        """(B, K, J)."""
        session, soft, rows = self.session, _joined(softs), len(prompts)
        prefixes = [self.first + v + self.shared for v in virtual_ids(session, softs)]
        past = prefill(session, prefixes, soft)
        skip = len(self.first) + len(self.shared)
        trunks = [[p[skip:]] for p in prompts] * len(softs)
        columns = Columns(trunks, list(answers) * len(softs))
        out = log_likelihoods(session, past, columns, soft)
        return out.reshape(len(softs), rows, -1).transpose(0, 1)

    def standing(self, prompts: Sequence[Ids]) -> int:
        """Nothing outlives a step: everything depends on the virtual tokens."""
        return 0

    def hold(self, prompts: Sequence[Ids]) -> None:
        """Nothing."""

    def moving(self, length: int, prompts: Sequence[Ids], answers: Sequence[list[Ids]]) -> int:
        """The prefix once, then inputs and answers."""
        skip = len(self.first) + len(self.shared)
        return skip + length + sum(len(p) - skip for p in prompts) + _tails(answers)


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
