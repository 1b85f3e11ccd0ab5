"""From requests to rows of token ids, and from equal rows to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.engine.session import Session
from luthier.errors import CapabilityError
from luthier.models.backend import ScoreRequest

ENDING = 24  # characters of a prompt's last line that decide how a continuation is tokenised

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A prefix (the prompt) and its continuations (the continuations), as ids.

    `truncated` says that the prefix was cut to the context length. `adapter` tells rows apart that
    have equal ids and other weights: nothing is shared between them.
    """

    prefix: Ids
    continuations: tuple[Ids, ...]
    truncated: bool = False
    adapter: int = 0


def token_rows(session: Session, requests: Sequence[ScoreRequest]) -> list[TokenRow]:
    """One row for each request, virtual tokens left out but room kept for them.

    A continuation is tokenised joined to its prompt (alone for an encoder–decoder). Where the
    tokenizer merges across the boundary, all continuations of the request are scored from the first
    token that any of them changed, so that they stay comparable. A prompt too long for the context
    keeps its first token and its end. CapabilityError when a continuation alone leaves no room.
    """
    known: dict[tuple[str, str], Ids] = {}
    return [_fitted(session, TokenRow(*_tokenised(session, r, known))) for r in requests]


def rows_by_vote(session: Session, requests: Sequence[ScoreRequest]) -> list[list[TokenRow]]:
    """For each request its rows, one for each vote of the soft prompt, virtual tokens in place."""
    made = []
    for row in token_rows(session, requests):
        ids = list(row.prefix)
        votes = (session.insert_virtual(ids, len(ids), vote=v) for v in range(session.votes))
        made.append([replace(row, prefix=tuple(prefix)) for prefix in votes])
    return made


def _tokenised(
    session: Session, request: ScoreRequest, known: dict[tuple[str, str], Ids]
) -> tuple[Ids, tuple[Ids, ...]]:
    """Prefix and continuations. `known` keeps continuations for prompts whose last line ends alike."""
    text, prefix = session.text(request.prompt), session.encode(request.prompt)
    line = text[-ENDING:].rsplit("\n", 1)[-1]
    ending = line if len(line) > 1 else text[-ENDING:]
    continuations = [known.get((ending, c)) for c in request.continuations]
    if all(b is not None for b in continuations):
        return tuple(prefix), tuple(b for b in continuations if b is not None)
    pairs = session.encode_pairs(request.prompt, request.continuations)
    if session.encoder_decoder:
        found = tuple(tuple(ids[start:]) for ids, start in pairs)
        known.update(((ending, c), b) for c, b in zip(request.continuations, found, strict=True))
        return tuple(prefix), found
    first = min(start for _, start in pairs)
    if any(ids[:first] != prefix[:first] for ids, _ in pairs):
        # One of them merged with the whole prompt and was given a first token to follow.
        opening = session.opening_token
        pairs = [(ids if ids[0] == opening else [opening, *ids], s) for ids, s in pairs]
        first = 1
    found = tuple(tuple(ids[first:]) for ids, _ in pairs)
    if first == len(prefix):
        known.update(((ending, c), b) for c, b in zip(request.continuations, found, strict=True))
    return tuple(pairs[0][0][:first]) if pairs else tuple(prefix), found


def _fitted(session: Session, row: TokenRow) -> TokenRow:
    limit = session.context_length
    room = 0 if session.soft is None else int(session.soft.shape[1])
    room += session.prefix_length
    longest = 0
    if not session.encoder_decoder:
        longest = max((len(b) for b in row.continuations), default=1)
    if limit is None or len(row.prefix) + longest + room <= limit:
        return row
    keep = limit - longest - room
    if keep < 2:
        raise CapabilityError(
            f"A continuation of {longest} tokens leaves no room for its prompt in a context of "
            f"{limit} tokens ({room} of them virtual)",
            next_step="Shorten the label or the answer, or use a base with a longer context.",
        )
    prefix = (row.prefix[0], *row.prefix[-(keep - 1) :])
    return replace(row, prefix=prefix, truncated=True)


@dataclass(frozen=True, slots=True)
class RowScores:
    """For each continuation of a row its summed log-probability and whether greedy decoding says it;
    and the tokens that were computed for this row and for none before it."""

    logprobs: list[float]
    greedy: list[bool]
    computed: int


@dataclass(frozen=True, slots=True)
class DistinctRows:
    """Rows without repetition. `rows[k]` has every continuation that anyone asked after its prefix;
    `places[i]` says which row answers the i-th asked, and which of its continuations in what order."""

    rows: list[TokenRow]
    places: list[tuple[int, list[int]]]


def distinct_rows(asked: Sequence[TokenRow]) -> DistinctRows:
    """Merge rows with equal prefixes, and equal continuations within a row."""
    index: dict[tuple[int, Ids], int] = {}
    continuations: list[dict[Ids, int]] = []
    places = []
    for row in asked:
        k = index.setdefault((row.adapter, row.prefix), len(index))
        if k == len(continuations):
            continuations.append({})
        mine = continuations[k]
        places.append((k, [mine.setdefault(b, len(mine)) for b in row.continuations]))
    rows = [
        TokenRow(prefix, tuple(continuations[k]), adapter=adapter)
        for (adapter, prefix), k in index.items()
    ]
    return DistinctRows(rows, places)
