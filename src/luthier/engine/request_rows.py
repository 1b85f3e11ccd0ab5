"""From requests to rows of token ids, and from equal rows to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.engine.session import Session
from luthier.engine.shortening import shortened
from luthier.errors import CapabilityError
from luthier.models.backend import ScoreRequest

ENDING = 24  # characters of a prompt's last line that decide how a continuation is tokenised

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A prefix (the prompt) and its continuations, as ids.

    `truncated` says that the prefix was cut to the context length. `adapter` tells rows apart that
    have equal ids and other weights: nothing is shared between them.
    """

    prefix: Ids
    continuations: tuple[Ids, ...]
    truncated: bool = False
    adapter: int = 0


def token_rows(session: Session, requests: Sequence[ScoreRequest]) -> list[TokenRow]:
    """One row for each request. It has no virtual tokens, but leaves space for them.

    A continuation is tokenised joined to its prompt (alone for an encoder–decoder). Where the
    tokenizer merges across the boundary, all continuations of the request are scored from the first
    token that any of them changed, so that they stay comparable. Of a prompt too long for the
    context the input loses its middle; where that is not enough, the prompt keeps its first token
    and its end. CapabilityError when a continuation alone leaves no space.
    """
    known: dict[tuple[str, str], Ids] = {}
    rows = []
    for request in requests:
        row = TokenRow(*_tokenised(session, request, known))
        most = _room(session, row)
        if most is not None and len(row.prefix) > most:
            shorter = replace(request, prompt=shortened(session, request.prompt, most))
            row = replace(TokenRow(*_tokenised(session, shorter, known)), truncated=True)
            if len(row.prefix) > most:
                row = replace(row, prefix=tuple(truncated(list(row.prefix), most)))
        rows.append(row)
    return rows


def rows_by_vote(session: Session, requests: Sequence[ScoreRequest]) -> list[list[TokenRow]]:
    """For each request its rows, one for each vote of the soft prompt, virtual tokens in place."""
    rows = []
    for row in token_rows(session, requests):
        ids = list(row.prefix)
        votes = (session.insert_virtual(ids, len(ids), vote=v) for v in range(session.votes))
        rows.append([replace(row, prefix=tuple(prefix)) for prefix in votes])
    return rows


def truncated(ids: list[int], most: int) -> list[int]:
    """At most `most` ids. The first one stays, which a base has always seen first, and the end."""
    return ids if len(ids) <= most else [ids[0], *ids[-(most - 1) :]]


def _tokenised(
    session: Session, request: ScoreRequest, known: dict[tuple[str, str], Ids]
) -> tuple[Ids, tuple[Ids, ...]]:
    """A prefix and its continuations. `known` keeps the ids of continuations by the ending of the
    prompt's last line."""
    text, prefix = session.text(request.prompt), session.encode(request.prompt)
    line = text[-ENDING:].rsplit("\n", 1)[-1]
    ending = line if len(line) > 1 else text[-ENDING:]
    continuations = [known.get((ending, c)) for c in request.continuations]
    if all(ids is not None for ids in continuations):
        return tuple(prefix), tuple(ids for ids in continuations if ids is not None)
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


def _room(session: Session, row: TokenRow) -> int | None:
    """How many tokens the prompt may have beside its longest continuation; None: as it likes."""
    limit = session.text_limit
    longest = 0
    if not session.encoder_decoder:
        longest = max((len(c) for c in row.continuations), default=1)
    if limit is None:
        return None
    if limit - longest < 2 and len(row.prefix) + longest > limit:
        context = session.context_length or 0
        raise CapabilityError(
            f"A continuation of {longest} tokens leaves no room for its prompt in a context of "
            f"{context} tokens ({context - limit} of them virtual)",
            next_step="Shorten the label or the answer, or use a base with a longer context.",
        )
    return limit - longest


@dataclass(frozen=True, slots=True)
class RowScores:
    """For each continuation of a row its summed log-probability, and whether greedy decoding
    generates it; and how many tokens were computed for this row and for none before it."""

    logprobs: list[float]
    greedy: list[bool]
    computed: int


@dataclass(frozen=True, slots=True)
class DistinctRows:
    """Rows without repetition.

    `rows[k]` has every continuation that is wanted after its prefix. `places[i]` says which row has
    the scores of the i-th wanted row, and which of its continuations, in what order.
    """

    rows: list[TokenRow]
    places: list[tuple[int, list[int]]]


def distinct_rows(wanted: Sequence[TokenRow]) -> DistinctRows:
    """Merge rows with equal prefixes, and equal continuations within a row."""
    numbers: dict[tuple[int, Ids], int] = {}
    continuations: list[dict[Ids, int]] = []
    places = []
    for row in wanted:
        k = numbers.setdefault((row.adapter, row.prefix), len(numbers))
        if k == len(continuations):
            continuations.append({})
        own = continuations[k]
        places.append((k, [own.setdefault(c, len(own)) for c in row.continuations]))
    rows = [
        TokenRow(prefix, tuple(continuations[k]), adapter=adapter)
        for (adapter, prefix), k in numbers.items()
    ]
    return DistinctRows(rows, places)
