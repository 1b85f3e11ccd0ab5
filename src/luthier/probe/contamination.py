"""Is a task's test set in the base?

Three tests with p-values (`contamination_tests`), rows that the base recites, and, where the corpus
is given, rows that stand in it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.context import report_progress
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import GenerateRequest
from luthier.models.model import Model
from luthier.models.prompt import Rendered
from luthier.probe.contamination_tests import (
    ORDER_TEST,
    ORDERS,
    OTHERS_TEST,
    ContaminationTest,
    against_others,
    completion,
    dealt_by_chance,
    holm,
    order_of_rows,
    row_text,
)
from luthier.probe.probe_request import ProbeRequest
from luthier.probe.text_scores import TextScores, score_texts
from luthier.probe.verbatim import longest_spans
from luthier.records import Capability, Example
from luthier.task.task import Task

LEVEL = 0.02  # false alarms of all tests together
UNEVEN = (
    "the splits differ in length or words by themselves: they were not dealt out by chance, and "
    "any base may find one of them easier"
)
LEAST_END = 6  # words of a row's end that is to be finished
LEAST_RECITED = 3  # rows recited word for word that are no chance
OVERLAP_WORDS = 13  # in a row that a corpus shares with a test row (Brown et al. 2020, appendix C)
STRETCH_CHARACTERS = 500
BATCH = 64
READINGS = 10  # of a row: by itself, two other rows, in five orders, and to be finished
LEAST_AFFORDED = 30  # rows, however slow the base


@dataclass(frozen=True, slots=True)
class RecitedRow:
    """A row whose end the base wrote word for word after its beginning."""

    id: str
    beginning: str
    end: str


@dataclass(frozen=True, slots=True)
class Contamination:
    """What was found on `rows` of `rows_of` test rows.

    `verdict`: "found" where a test rejects (Holm, 2 %) or three rows are recited, "no sign" where
    none does, "cannot tell" where none could be run. `recited` are rows whose end the base writes
    word for word; `finished` is how many ends were asked for. `in_corpus` counts test rows that
    share 13 words in a row with the corpus, or stand in it whole; None where none was given.
    """

    lacks: str = ""
    task: str = ""
    rows: int = 0
    rows_of: int = 0
    tests: tuple[ContaminationTest, ...] = ()
    recited: tuple[RecitedRow, ...] = ()
    finished: int = 0
    in_corpus: int | None = None
    corpus_rows: int | None = None
    verdict: str = "cannot tell"

    def sentences(self) -> list[str]:
        """What was found, in words."""
        from luthier.probe.corpus_words import contamination_sentences

        return contamination_sentences(self)


def measure_contamination(model: Model, request: ProbeRequest) -> Contamination:
    """The contamination of the base by the test rows of the request's task.

    The bare base is asked: what an adaptation was fitted on is known (`Lineage`).
    """
    task = request.task
    if task is None:
        return Contamination(lacks="no task is given")
    if task.is_locked or not task.test:
        return Contamination(lacks=f"task {task.name!r} has no test split", task=task.name)
    bare = Model(model.backend)
    most = min(request.limits.examples, _affordable(bare, task.test, request.limits.seconds))
    rows = _taken(task.test, most, request.seed)
    others = list(task.train) + list(task.dev)
    others = random.Random(request.seed).sample(others, min(len(others), 2 * len(rows)))
    dealt = dealt_by_chance(rows, others, request.seed)
    tests: list[ContaminationTest] = []
    reads_apart = bare.backend.facts.encoder_decoder
    if Capability.LOGPROBS in bare.capabilities and not reads_apart:
        tests += _likelihood_tests(bare, rows, others, request)
    else:
        lacks = f"{bare.backend.name} gives no log-probabilities of a text"
        tests += [ContaminationTest(name, "", lacks=lacks) for name in (OTHERS_TEST, ORDER_TEST)]
    finishing, recited, finished = _completions(bare, task, rows, others, request.seed)
    tests.append(finishing)
    if not dealt:
        tests = [
            test if test.name == ORDER_TEST else replace(test, p_value=None, lacks=UNEVEN)
            for test in tests
        ]
    judged = holm(tests, LEVEL)
    in_corpus = _in_corpus(rows, request.corpus) if request.corpus else None
    return Contamination(
        task=task.name,
        rows=len(rows),
        rows_of=len(task.test),
        tests=judged,
        recited=recited,
        finished=finished,
        in_corpus=in_corpus,
        corpus_rows=None if in_corpus is None else len(rows),
        verdict=_verdict(judged, recited, finished),
    )


def _verdict(
    tests: Sequence[ContaminationTest], recited: Sequence[RecitedRow], finished: int
) -> str:
    if any(test.found for test in tests) or len(recited) >= LEAST_RECITED:
        return "found"
    return "no sign" if finished or any(t.p_value is not None for t in tests) else "cannot tell"


def _affordable(model: Model, rows: Sequence[Example], seconds: float) -> int:
    """How many rows the base's speed allows; each is read about ten times in all."""
    speed = model.backend.tokens_per_second()
    if speed is None:
        return len(rows)
    characters = sum(len(row_text(row)) for row in rows) / len(rows)
    return max(LEAST_AFFORDED, int(seconds * speed / (READINGS * characters / 3)))


def _taken(rows: Sequence[Example], most: int, seed: int) -> list[Example]:
    """A stretch of the rows in their order: the order is tested too."""
    if len(rows) <= most:
        return list(rows)
    start = random.Random(seed).randrange(len(rows) - most + 1)
    return list(rows[start : start + most])


def _likelihood_tests(
    model: Model, rows: Sequence[Example], others: Sequence[Example], request: ProbeRequest
) -> list[ContaminationTest]:
    texts = [_fitting(model, row_text(row)) for row in (*rows, *others)]
    limit = model.backend.facts.context_length
    longest = max(len(text) for text in texts)
    stretch = max(2, min(8, STRETCH_CHARACTERS // max(1, sum(map(len, texts)) // len(texts))))
    if limit is not None:  # about three characters a token, and whole rows
        stretch = min(stretch, int(2.0 * limit) // max(1, longest))
    total = len(texts) + (len(rows) // max(1, stretch)) * (ORDERS + 1)
    done = 0

    def read(some: Sequence[str]) -> list[TextScores]:
        nonlocal done
        found: list[TextScores] = []
        for start in range(0, len(some), BATCH):
            report_progress(done, total, f"{done} of {total} texts read")
            batch = [_fitting(model, text) for text in some[start : start + BATCH]]
            found += score_texts(model, batch)
            done += len(batch)
        return found

    means = [scores.logprob / max(1, scores.tokens) for scores in read(texts)]
    return [
        against_others(rows, others, means, seed=request.seed),
        order_of_rows(
            rows,
            lambda some: [scores.logprob for scores in read(some)],
            rows_a_stretch=stretch,
            seed=request.seed,
        ),
    ]


def _completions(
    model: Model, task: Task, rows: Sequence[Example], others: Sequence[Example], seed: int
) -> tuple[ContaminationTest, tuple[RecitedRow, ...], int]:
    """The completion test, the rows that are recited, and how many were asked for.

    A model that follows instructions is told the name of the set; any other reads the beginning.
    """
    from rouge_score.rouge_scorer import RougeScorer

    everything = "\n".join(" ".join(e.text.split()) for e in (*task.train, *task.dev, *task.test))
    cut = [
        (row, *parts)
        for row in (*rows, *others[: len(rows)])
        # An end that stands in two rows may be guessed.
        if (parts := _halves(row.text)) is not None and everything.count(parts[1]) == 1
    ]
    if not cut:
        return completion([], [], [], seed=seed), (), 0
    facts = model.backend.facts
    lead = f"{task.name}, the test set\n\n" if facts.prefers_chat or facts.remote else ""
    report_progress(0, 1, "rows are finished")
    written = _finish(model, [lead + head for _, head, _ in cut], [end for *_, end in cut])
    scorer, tested = RougeScorer(["rougeL"]), {row.id for row in rows}
    likeness, recited = [], []
    for (row, head, end), text in zip(cut, written, strict=True):
        text = text.split(head)[-1] if head in text else text  # a chat model may repeat it
        likeness.append(float(scorer.score(end, text)["rougeL"].fmeasure))
        if row.id in tested and _same_words(text, end):
            recited.append(RecitedRow(row.id, head, end))
    inside = [row for row, *_ in cut if row.id in tested]
    outside = [row for row, *_ in cut if row.id not in tested]
    return completion(inside, outside, likeness, seed=seed), tuple(recited), len(inside)


def _finish(model: Model, beginnings: Sequence[str], ends: Sequence[str]) -> list[str]:
    count = model.backend.count_tokens
    requests = [
        GenerateRequest(
            Rendered(text=_end_of(model, text)),
            decoding=Decoding(max_new_tokens=count(end) + 4, stop=("\n",)),
        )
        for text, end in zip(beginnings, ends, strict=True)
    ]
    return [found.text for found in model.backend.generate(requests, Adaptation())]


def _halves(text: str) -> tuple[str, str] | None:
    """A row's beginning and its end, of six words at least; None for a shorter row."""
    flat = " ".join(text.split())
    words = flat.split(" ")
    if len(words) < LEAST_END + 3:
        return None
    at = max(3, min(len(words) // 2, len(words) - LEAST_END))
    return " ".join(words[:at]), " ".join(words[at : at + 24])


def _same_words(text: str, end: str) -> bool:
    wanted = end.split()
    return text.split()[: len(wanted)] == wanted


def _in_corpus(rows: Sequence[Example], corpus: Sequence[str]) -> int:
    found = longest_spans([row.text for row in rows], corpus)
    return sum(
        longest >= OVERLAP_WORDS or (longest == words and words >= LEAST_END)
        for longest, words in found
    )


def _fitting(model: Model, text: str) -> str:
    """The text, or as much of its beginning as the base's context holds."""
    limit = model.backend.facts.context_length
    while limit is not None and model.backend.count_tokens(text) > 0.9 * limit and len(text) > 1:
        text = text[: len(text) * 2 // 3]
    return text


def _end_of(model: Model, text: str) -> str:
    limit = model.backend.facts.context_length
    while limit is not None and model.backend.count_tokens(text) > 0.7 * limit and len(text) > 1:
        text = text[len(text) // 3 :]
    return text
