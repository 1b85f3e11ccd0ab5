"""From requests to rows of token ids, and from equal rows to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.errors import CapabilityError
from luthier.models.backend import ScoreRequest
from luthier.models.local.session import Session

ENDING = 24  # characters of a prompt's last line that decide how a continuation is tokenised

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A trunk (the prompt) and its branches (the continuations), as ids.

    `truncated` says that the trunk was cut to the context length. `adapter` tells rows apart that
    have equal ids and other weights: nothing is shared between them.
    """

    trunk: Ids
    branches: tuple[Ids, ...]
    truncated: bool = False
    adapter: int = 0


def rows_of(session: Session, requests: Sequence[ScoreRequest]) -> list[Row]:
    """One row for each request, virtual tokens left out but room kept for them.

    A continuation is tokenised joined to its prompt (alone for an encoder–decoder). Where the
    tokenizer merges across the boundary, all continuations of the request are scored from the first
    token that any of them changed, so that they stay comparable. A prompt too long for the context
    keeps its first token and its end. CapabilityError when a continuation alone leaves no room.
    """
    known: dict[tuple[str, str], Ids] = {}
    return [_fitted(session, Row(*_tokenised(session, r, known))) for r in requests]


def voting_rows(session: Session, requests: Sequence[ScoreRequest]) -> list[list[Row]]:
    """For each request its rows, one for each vote of the soft prompt, virtual tokens in place."""
    made = []
    for row in rows_of(session, requests):
        ids = list(row.trunk)
        votes = (session.insert_virtual(ids, len(ids), vote=v) for v in range(session.votes))
        made.append([replace(row, trunk=tuple(trunk)) for trunk in votes])
    return made


def _tokenised(
    session: Session, request: ScoreRequest, known: dict[tuple[str, str], Ids]
) -> tuple[Ids, tuple[Ids, ...]]:
    """Trunk and branches. `known` keeps branches for prompts whose last line ends alike."""
    text, trunk = session.text(request.prompt), session.encode(request.prompt)
    line = text[-ENDING:].rsplit("\n", 1)[-1]
    ending = line if len(line) > 1 else text[-ENDING:]
    branches = [known.get((ending, c)) for c in request.continuations]
    if all(b is not None for b in branches):
        return tuple(trunk), tuple(b for b in branches if b is not None)
    pairs = session.encode_pairs(request.prompt, request.continuations)
    if session.encoder_decoder:
        found = tuple(tuple(ids[start:]) for ids, start in pairs)
        known.update(((ending, c), b) for c, b in zip(request.continuations, found, strict=True))
        return tuple(trunk), found
    first = min(start for _, start in pairs)
    if any(ids[:first] != trunk[:first] for ids, _ in pairs):
        # One of them merged with the whole prompt and was given a first token to follow.
        opening = session.opening_token
        pairs = [(ids if ids[0] == opening else [opening, *ids], s) for ids, s in pairs]
        first = 1
    found = tuple(tuple(ids[first:]) for ids, _ in pairs)
    if first == len(trunk):
        known.update(((ending, c), b) for c, b in zip(request.continuations, found, strict=True))
    return tuple(pairs[0][0][:first]) if pairs else tuple(trunk), found


def _fitted(session: Session, row: Row) -> Row:
    limit = session.context_length
    room = 0 if session.soft is None else int(session.soft.shape[1])
    room += session.prefix_length
    longest = 0
    if not session.encoder_decoder:
        longest = max((len(b) for b in row.branches), default=1)
    if limit is None or len(row.trunk) + longest + room <= limit:
        return row
    keep = limit - longest - room
    if keep < 2:
        raise CapabilityError(
            f"A continuation of {longest} tokens leaves no room for its prompt in a context of "
            f"{limit} tokens ({room} of them virtual)",
            next_step="Shorten the label or the answer, or use a base with a longer context.",
        )
    trunk = (row.trunk[0], *row.trunk[-(keep - 1) :])
    return replace(row, trunk=trunk, truncated=True)


@dataclass(frozen=True, slots=True)
class RowScores:
    """For each branch of a row its summed log-probability and whether greedy decoding says it;
    and the tokens that were computed for this row and for none before it."""

    logprobs: list[float]
    greedy: list[bool]
    computed: int


@dataclass(frozen=True, slots=True)
class Distinct:
    """Rows without repetition. `rows[k]` has every branch that anyone asked after its trunk;
    `places[i]` says which row answers the i-th asked, and which of its branches in what order."""

    rows: list[Row]
    places: list[tuple[int, list[int]]]


def distinct(asked: Sequence[Row]) -> Distinct:
    """Merge rows with equal trunks, and equal branches within a row."""
    index: dict[tuple[int, Ids], int] = {}
    branches: list[dict[Ids, int]] = []
    places = []
    for row in asked:
        k = index.setdefault((row.adapter, row.trunk), len(index))
        if k == len(branches):
            branches.append({})
        mine = branches[k]
        places.append((k, [mine.setdefault(b, len(mine)) for b in row.branches]))
    rows = [
        Row(trunk, tuple(branches[k]), adapter=adapter) for (adapter, trunk), k in index.items()
    ]
    return Distinct(rows, places)
