"""From the scores of distinct rows back to the results of requests.

Several soft prompts of one adaptation vote: their probabilities are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from luthier.content import Usage
from luthier.engine.request_rows import RowScores, TokenRow, distinct_rows
from luthier.models.alternatives import told_apart
from luthier.models.backend import ScoreResult

# The log-probability and the greedy flag of each continuation.
Vote = tuple[Sequence[float], Sequence[bool]]


def results_of(
    requests: Sequence[Sequence[TokenRow]],
    score_rows: Callable[[Sequence[TokenRow]], list[RowScores]],
) -> list[ScoreResult]:
    """One result for each request, which is given as its rows, one for each vote.

    `score_rows` is called once, with distinct rows. The tokens that a row took are charged to the
    first request that needs it.
    """
    distinct = distinct_rows([row for rows in requests for row in rows])
    scored = score_rows(distinct.rows)
    uncharged = [s.computed for s in scored]
    places = iter(distinct.places)
    results = []
    for rows in requests:
        votes, computed = [], 0
        for _ in rows:
            k, which = next(places)
            computed, uncharged[k] = computed + uncharged[k], 0
            found = scored[k]
            votes.append(([found.logprobs[c] for c in which], [found.greedy[c] for c in which]))
        results.append(result_of(votes, rows, computed))
    return results


def result_of(votes: Sequence[Vote], rows: Sequence[TokenRow], computed: int) -> ScoreResult:
    """The result of one request out of its votes and their rows; `computed` tokens were run.

    It has the log of the mean probability of each continuation (Lester et al. 2021,
    arXiv:2104.08691, section 6), and calls one greedy where most votes do. A continuation that
    begins another is told apart from it (`models.alternatives`).
    """
    lengths = tuple(len(c) for c in rows[0].continuations)
    logprobs, greedy = [], []
    for k in range(len(lengths)):
        each = [logs[k] for logs, _ in votes]
        top = max(each)
        if math.isinf(top):
            logprobs.append(top)
        else:
            mean = sum(math.exp(x - top) for x in each) / len(each)
            logprobs.append(top + math.log(mean))
        greedy.append(2 * sum(flags[k] for _, flags in votes) > len(votes))
    apart, flags = told_apart(logprobs, greedy, rows[0].continuations)
    usage = Usage(
        prompt_tokens=sum(len(row.prefix) for row in rows),
        computed_tokens=computed,
        calls=1,
        truncated=int(rows[0].truncated),
    )
    return ScoreResult(apart, lengths, flags, usage)
