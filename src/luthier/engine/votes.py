"""From scores of distinct rows back to results of requests, votes counted.

Several soft prompts of one adaptation vote: their probabilities are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from luthier.content import Usage
from luthier.engine.token_rows import RowScores, TokenRow, distinct_rows
from luthier.models.backend import ScoreResult

Vote = tuple[
    Sequence[float], Sequence[bool]
]  # log-probability and greedy flag of each continuation


def results_of(
    asked: Sequence[Sequence[TokenRow]], score: Callable[[Sequence[TokenRow]], list[RowScores]]
) -> list[ScoreResult]:
    """One result for each request, given as its rows, one a vote. `score` sees distinct rows; what
    a row took is charged to the first that asked for it."""
    merged = distinct_rows([row for rows in asked for row in rows])
    scored = score(merged.rows)
    unpaid = [s.computed for s in scored]
    places = iter(merged.places)
    results = []
    for rows in asked:
        votes, computed = [], 0
        for _ in rows:
            k, which = next(places)
            computed, unpaid[k] = computed + unpaid[k], 0
            found = scored[k]
            votes.append(([found.logprobs[b] for b in which], [found.greedy[b] for b in which]))
        usage = Usage(
            prompt_tokens=sum(len(row.prefix) for row in rows),
            computed_tokens=computed,
            calls=1,
            truncated=int(rows[0].truncated),
        )
        results.append(result_of(votes, [len(b) for b in rows[0].continuations], usage))
    return results


def result_of(votes: Sequence[Vote], tokens: Sequence[int], usage: Usage) -> ScoreResult:
    """The votes on one request: log of the mean probability of each continuation (Lester et al.
    2021, arXiv:2104.08691, section 6), greedy where most votes say so."""
    logprobs, greedy = [], []
    for k in range(len(tokens)):
        each = [logs[k] for logs, _ in votes]
        top = max(each)
        if math.isinf(top):
            logprobs.append(top)
        else:
            mean = sum(math.exp(x - top) for x in each) / len(each)
            logprobs.append(top + math.log(mean))
        greedy.append(2 * sum(said[k] for _, said in votes) > len(votes))
    return ScoreResult(tuple(logprobs), tuple(tokens), tuple(greedy), usage)
