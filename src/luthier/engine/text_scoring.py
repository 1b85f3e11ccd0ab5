"""The log-probability of every token of a text, without a prompt.

Texts of like length share a batch, padded on the right: attention is causal, so that no token sees
the padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, pairwise

import torch

from luthier.engine.memory import ModelShape, memory_cap, run_in_halves
from luthier.engine.precision import autocast
from luthier.engine.session import Session
from luthier.engine.tokenization import Tokens, tokenize
from luthier.errors import CapabilityError
from luthier.models.backend import TokenLogprobs
from luthier.models.prompt import Rendered

TOKENS_A_BATCH = 3072  # as for continuations

# The ids before a text (BOS, virtual tokens; the input of an encoder), and the ids of the text.
TextRow = tuple[list[int], list[int]]
# The log-probability of a token, the likeliest id in its place and that one's, and the mean and the
# deviation of the log-probability of a token drawn there.
Value = tuple[float, int, float, float, float]
POSITIONS_AT_ONCE = 256  # whose spread is computed together: a vocabulary may be large
LEAST_LOG = -80.0  # what is less likely adds nothing to a mean over the distribution


def text_logprobs(session: Session, texts: Sequence[str]) -> list[TokenLogprobs]:
    """log p(y_i | y_<i) of every token y_i of each text, natural logarithms.

    BOS and virtual tokens, where the session puts them before a text, are conditions and no part of
    it. The first token has None where neither stands before it. For an encoder–decoder these are
    the probabilities of its decoder after an empty prompt. The texts of the tokens join to the
    whole text; of several tokens in one character the first one has it. Where several soft prompts
    vote, the sum over a text is the log of the mean of its probabilities.

    CapabilityError for a text that is longer than the context.
    """
    split = [_split(session, t) for t in tokenize(session.tokenizer, texts, special=True)]
    rows = [
        (session.insert_virtual(before, len(before), vote=vote), ids)
        for before, ids, _ in split
        for vote in range(session.votes)
    ]
    longest = max((len(ids) + len(before) for before, ids in rows), default=0)
    limit = session.context_length
    if limit is not None and longest + session.prefix_length > limit:
        raise CapabilityError(
            f"A text of {longest} tokens is longer than the context of {limit} tokens",
            next_step="Divide it into shorter texts.",
        )
    scored = iter(_row_logprobs(session, rows))
    results = []
    for _, ids, pieces in split:
        votes = [next(scored) for _ in range(session.votes)]
        results.append(
            TokenLogprobs(
                pieces,
                _averaged([[None if v is None else v[0] for v in row] for row in votes]),
                tuple(ids),
                _likeliest(session, votes[0], ids, pieces) if session.votes == 1 else (),
                tuple(None if v is None else v[3:] for v in votes[0]) if session.votes == 1 else (),
            )
        )
    return results


def _likeliest(
    session: Session, row: Sequence[Value | None], ids: Sequence[int], pieces: Sequence[str]
) -> tuple[tuple[int, str, float] | None, ...]:
    """What would have been likeliest in each place: a token of the text itself as it stands there,
    any other one decoded alone."""
    found: list[tuple[int, str, float] | None] = []
    for value, token, piece in zip(row, ids, pieces, strict=True):
        if value is None:
            found.append(None)
            continue
        _, best, logprob = value[:3]
        text = piece if best == token else str(session.tokenizer.decode([best]))
        found.append((best, text, logprob))
    return tuple(found)


def _split(session: Session, text: Tokens) -> tuple[list[int], list[int], tuple[str, ...]]:
    """The ids that stand before a text, its own, and the text of each of its own."""
    ids, spans, tokenizer = text.ids[: len(text.ids) - text.ending], text.spans, session.tokenizer
    special = set(tokenizer.all_special_ids)
    if spans is None:  # the tokenizer does not say which characters a token covers
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        first = int(ids[:1] == [bos])
        ids = ids[:-1] if len(ids) > first and ids[-1] == eos else ids
        pieces = tuple(str(tokenizer.decode([i])) for i in ids[first:])
    else:
        first = 0
        while first < len(ids) and ids[first] in special and not spans[first][1]:
            first += 1
        ends = [0, *(end for _, end in spans[first : len(ids) - 1]), len(text.text)]
        pieces = tuple(text.text[lo:hi] for lo, hi in pairwise(ends)) if first < len(ids) else ()
    before = ids[:first]
    if session.encoder_decoder:
        before = session.encode(Rendered(text="")) or [session.opening_token]
    elif session.bos_in_prefix and before[:1] == [tokenizer.bos_token_id]:
        before = before[1:]
    return before, ids[first:], pieces


def _row_logprobs(session: Session, rows: Sequence[TextRow]) -> list[list[Value | None]]:
    """For each row the log-probability of every id of its text."""
    shape, cap = ModelShape.of(session), memory_cap(session.device)
    widths = [len(before) + len(ids) for before, ids in rows]
    waiting = sorted((k for k, row in enumerate(rows) if row[1]), key=lambda k: -widths[k])
    found: list[list[Value | None]] = [[] for _ in rows]
    batch_logprobs = _encoder_decoder_logprobs if session.encoder_decoder else _decoder_logprobs
    with autocast(session.device, session.dtype):
        while waiting:
            width = widths[waiting[0]]
            by_memory = cap // shape.row_bytes(width, session.prefix_length, 2 * width)
            size = max(1, min(TOKENS_A_BATCH // width, by_memory))
            members, waiting = waiting[:size], waiting[size:]
            batches = run_in_halves(
                lambda batch: batch_logprobs(session, batch),
                [rows[k] for k in members],
                _halves,
                describe=lambda batch: f"A text of {len(batch[0][1])} tokens",
            )
            for k, values in zip(members, chain.from_iterable(batches), strict=True):
                found[k] = values
    return found


def _halves(batch: list[TextRow]) -> list[list[TextRow]] | None:
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]] if middle else None


def _decoder_logprobs(session: Session, rows: list[TextRow]) -> list[list[Value | None]]:
    joined = [before + ids for before, ids in rows]
    width, pad = max(map(len, joined)), session.tokenizer.pad_token_id or 0
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in joined], device=session.device)
    lengths = torch.tensor([[len(row)] for row in joined], device=session.device)
    past = session.prefix_length
    cache = session.prefix_cache(len(rows))
    mask = (torch.arange(past + width, device=session.device) < past + lengths).long()
    logits = session.module(
        inputs_embeds=session.embed(ids),
        attention_mask=mask,
        position_ids=torch.arange(past, past + width, device=session.device).expand(len(rows), -1),
        past_key_values=cache,
        use_cache=cache is not None,
    ).logits
    # Virtual tokens are not in the vocabulary: what is read there is cut off below.
    logs = _read(logits[:, :-1], ids[:, 1:].clamp(max=session.vocabulary - 1))
    return [
        [None, *each][len(before) : len(row)]
        for (before, _), row, each in zip(rows, joined, logs, strict=True)
    ]


def _encoder_decoder_logprobs(session: Session, rows: list[TextRow]) -> list[list[Value | None]]:
    width = max(len(ids) for _, ids in rows)
    labels = torch.tensor(
        [ids + [-100] * (width - len(ids)) for _, ids in rows], device=session.device
    )
    prompts = torch.tensor([before for before, _ in rows], device=session.device)  # all as long
    logits = session.module(inputs_embeds=session.embed(prompts), labels=labels).logits
    logs = _read(logits, labels.clamp(min=0))
    return [[*each[: len(ids)]] for (_, ids), each in zip(rows, logs, strict=True)]


def _read(logits: torch.Tensor, targets: torch.Tensor) -> list[list[Value]]:
    """The log-probabilities of targets (B, W) in logits (B, W, vocabulary), and the likeliest."""
    logs = logits.float().log_softmax(-1)
    own = logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1).tolist()
    highest, best = logs.max(-1)
    means, deviations = _spread(logs)
    return [
        list(zip(*row, strict=True))
        for row in zip(
            own, best.tolist(), highest.tolist(), means.tolist(), deviations.tolist(), strict=True
        )
    ]


def _spread(logs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and the deviation (B, W) of log p(z) for z drawn from p: sum p log p, and the root
    of sum p (log p)² less its square."""
    means, deviations = [], []
    for some in torch.split(logs, POSITIONS_AT_ONCE, dim=1):
        bounded = some.clamp(min=LEAST_LOG)
        shares = bounded.exp()
        weighted = shares * bounded
        mean = weighted.sum(-1)
        means.append(mean)
        squares = weighted.mul_(bounded).sum(-1)
        deviations.append((squares - mean.square()).clamp(min=0.0).sqrt())
    return torch.cat(means, 1), torch.cat(deviations, 1)


def _averaged(votes: Sequence[Sequence[float | None]]) -> tuple[float | None, ...]:
    """One log-probability a token: the mean of the votes' probabilities of the text up to it, over
    that of the text before it."""
    if len(votes) == 1:
        return tuple(votes[0])
    # Votes are soft prompts, so that something stands before every first token.
    sums = torch.tensor(votes, dtype=torch.float64).cumsum(1).logsumexp(0)
    start = torch.full((1,), math.log(len(votes)), dtype=torch.float64)
    return tuple(torch.cat([start, sums]).diff().tolist())
