"""Three tests of whether a base has met a task's test rows, each with a p-value that is right where
its condition holds; the condition is checked, and where it fails the test is not run.

1. *Others*: the test rows are likelier than rows of train and dev. The rows were dealt out by
   chance, so that a base that has met neither, or both, sees no difference.
2. *Order*: the rows are likelier in the order of the file than in another (Oren et al. 2023,
   arXiv:2310.17623), stretch by stretch. A base that has met both splits in the file is found too.
   The order must be one that the text does not tell by itself.
3. *Completion*: the base finishes test rows better than rows of train and dev (after Golchin and
   Surdeanu 2024, arXiv:2308.08493, whose own comparison, with the name of the set and without it,
   also finds bases that merely prefer a prompt with a name: see `docs/LOG.md`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from luthier.records import Example

PERMUTATIONS = 4000
ORDERS = 4  # other orders of each stretch
LEAST_ROWS = 10
OTHERS_TEST, ORDER_TEST, COMPLETION_TEST = (
    "test rows against others", "order of the rows", "completion of rows",
)  # fmt: skip
LEAST_STRETCHES = 6
BLIND = 0.05  # below this p the text itself tells the splits, or the order, apart
Values = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Scorer = Callable[[Sequence[str]], list[float]]  # summed log-probabilities of texts


@dataclass(frozen=True, slots=True)
class ContaminationTest:
    """One test. `p_value` is None where it could not be run, and `lacks` says why. `found` is its
    share in the verdict, after Holm's correction. `detail` says what was compared."""

    name: str
    detail: str
    p_value: float | None = None
    found: bool = False
    lacks: str = ""


def row_text(example: Example) -> str:
    """A row as it may stand in a file: the passage, the input and the answer, a line each."""
    parts = (example.context or "", example.text, example.target)
    return "\n".join(part for part in parts if part)


def against_others(
    test: Sequence[Example], others: Sequence[Example], means: Sequence[float], *, seed: int
) -> ContaminationTest:
    """The first test, from the mean log-probability a token of all rows, those of test first."""
    name = OTHERS_TEST
    detail = f"{len(test)} test rows against {len(others)} rows of train and dev"
    if min(len(test), len(others)) < LEAST_ROWS:
        return ContaminationTest(name, detail, lacks=f"it takes {LEAST_ROWS} rows on both sides")
    rows = [*test, *others]
    sides = np.array([1.0] * len(test) + [0.0] * len(others))
    groups = _groups(rows)
    return ContaminationTest(
        name, detail, p_value=_permuted(_ranks(list(means)), sides, groups, seed)
    )


def order_of_rows(
    test: Sequence[Example], score: Scorer, *, rows_a_stretch: int, seed: int
) -> ContaminationTest:
    """The second test, over stretches of so many rows each."""
    from scipy.stats import ttest_1samp

    name = ORDER_TEST
    stretches = [
        list(test[n : n + rows_a_stretch])
        for n in range(0, len(test) - rows_a_stretch + 1, rows_a_stretch)
    ]
    detail = f"{len(stretches)} stretches of {rows_a_stretch} rows, {ORDERS} other orders of each"
    if len(stretches) < LEAST_STRETCHES or rows_a_stretch < 2:
        return ContaminationTest(
            name, detail, lacks=f"it takes {LEAST_STRETCHES} stretches of two rows"
        )
    if _order_is_told(test, seed):
        return ContaminationTest(
            name, detail,
            lacks="the order is told by the text itself (rows sorted by label or subject), so that "
            "any base may prefer it",
        )  # fmt: skip
    draw = random.Random(seed)
    texts: list[str] = []
    for stretch in stretches:
        rows = [row_text(example) for example in stretch]
        texts.append("\n".join(rows))
        for _ in range(ORDERS):
            texts.append("\n".join(_other_order(rows, draw)))
    logs = np.array(score(texts)).reshape(len(stretches), ORDERS + 1)
    gains = logs[:, 0] - logs[:, 1:].mean(1)
    if float(np.ptp(gains)) == 0.0:
        return ContaminationTest(name, detail, p_value=1.0)
    p_value = float(ttest_1samp(gains, 0.0, alternative="greater").pvalue)
    return ContaminationTest(name, detail, p_value=p_value)


def completion(
    tested: Sequence[Example], others: Sequence[Example], likeness: Sequence[float], *, seed: int
) -> ContaminationTest:
    """The third test, from the likeness of each completion to the row's own end, those of test rows
    first."""
    name = COMPLETION_TEST
    detail = f"the ends of {len(tested)} test rows against those of {len(others)} other rows"
    if min(len(tested), len(others)) < LEAST_ROWS:
        return ContaminationTest(
            name, detail, lacks=f"it takes {LEAST_ROWS} rows of nine words on both sides"
        )
    sides = np.array([1.0] * len(tested) + [0.0] * len(others))
    groups = _groups([*tested, *others])
    return ContaminationTest(
        name, detail, p_value=_permuted(_ranks(list(likeness)), sides, groups, seed)
    )


def holm(tests: Sequence[ContaminationTest], level: float) -> tuple[ContaminationTest, ...]:
    """The tests with `found` by Holm's correction: together they raise a false alarm in at most
    `level` of all cases."""
    run = sorted((t.p_value, n) for n, t in enumerate(tests) if t.p_value is not None)
    found: set[int] = set()
    for place, (p_value, n) in enumerate(run):
        if p_value > level / (len(run) - place):
            break
        found.add(n)
    return tuple(replace(test, found=n in found) for n, test in enumerate(tests))


def _other_order(rows: list[str], draw: random.Random) -> list[str]:
    order = list(rows)
    while order == rows:
        draw.shuffle(order)
        if len(set(rows)) < 2:
            break
    return order


def _groups(rows: Sequence[Example]) -> Numbers:
    numbers: dict[object, int] = {}
    return np.array(
        [numbers.setdefault(r.group if r.group is not None else n, len(numbers))
         for n, r in enumerate(rows)]
    )  # fmt: skip


def _ranks(values: Sequence[float]) -> Values:
    from scipy.stats import rankdata

    ranks: Values = rankdata(values)
    return ranks


def _vocabulary_statistic(rows: Sequence[Example]) -> Values:
    """For each row the rank of a fixed mix of its words: rows of another kind have other values."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        matrix = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(
            [row.text for row in rows]
        )
    except ValueError:  # no word in any of them
        return _ranks([0.0] * len(rows))
    if min(matrix.shape) < 3:
        return _ranks(np.asarray(matrix.sum(1)).ravel().tolist())
    reduced = TruncatedSVD(1, random_state=0).fit_transform(matrix)
    return _ranks(reduced[:, 0].tolist())


def dealt_by_chance(test: Sequence[Example], others: Sequence[Example], seed: int) -> bool:
    """Whether neither the lengths nor the words of the rows tell the splits apart."""
    rows = [*test, *others]
    sides = np.array([1.0] * len(test) + [0.0] * len(others))
    groups = _groups(rows)
    lengths = _ranks([len(row_text(row)) for row in rows])
    return all(
        _two_sided(statistic, sides, groups, seed) >= BLIND / 2
        for statistic in (lengths, _vocabulary_statistic(rows))
    )


def _permuted(values: Values, sides: Values, groups: Numbers, seed: int) -> float:
    """One-sided p of the sum of values of the test rows, whole groups dealt out anew."""
    return _shares(values, sides, groups, seed)[0]


def _two_sided(values: Values, sides: Values, groups: Numbers, seed: int) -> float:
    above, below = _shares(values, sides, groups, seed)
    return 2.0 * min(above, below)


def _shares(values: Values, sides: Values, groups: Numbers, seed: int) -> tuple[float, float]:
    """The share of dealings with a mean of the test rows as high, and as low, as the real one."""
    count = int(groups.max()) + 1
    sums, sizes = np.bincount(groups, values, count), np.bincount(groups, minlength=count)
    tested = np.bincount(groups, sides, count) > 0
    centred = sums - sizes * float(np.mean(values))
    rng = np.random.default_rng([seed, count])
    real = centred[tested].sum() / max(1, sizes[tested].sum())
    # The groups that each dealing makes test rows: as many as there are.
    order = rng.random((PERMUTATIONS, count)).argsort(1)[:, : int(tested.sum())]
    drawn = centred[order].sum(1) / np.maximum(1, sizes[order].sum(1))
    above, below = int((drawn >= real - 1e-12).sum()), int((drawn <= real + 1e-12).sum())
    return (1 + above) / (1 + PERMUTATIONS), (1 + below) / (1 + PERMUTATIONS)


def _order_is_told(rows: Sequence[Example], seed: int) -> bool:
    """Whether neighbours are more alike than rows that are not: by label, or by words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng(seed)
    targets = np.unique([row.target for row in rows], return_inverse=True)[1]
    try:
        matrix = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(
            [row.text for row in rows]
        )
        alike = (matrix @ matrix.T).toarray()
    except ValueError:
        alike = np.zeros((len(rows), len(rows)))
    for likeness in (alike, (targets[:, None] == targets[None, :]).astype(float)):
        real = likeness[np.arange(len(rows) - 1), np.arange(1, len(rows))].mean()
        above = 1
        for _ in range(500):
            order = rng.permutation(len(rows))
            above += likeness[order[:-1], order[1:]].mean() >= real - 1e-12
        if above / 501 < BLIND / 2:
            return True
    return False
