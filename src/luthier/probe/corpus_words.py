"""Traces and contamination in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.probe.contamination import Contamination
    from luthier.probe.contamination_tests import ContaminationTest
    from luthier.probe.verbatim import Traces

CHANCE = 0.01  # a span that words of these frequencies give less often is a trace


def trace_sentences(found: Traces) -> list[str]:
    """What was found in the corpus and in passages."""
    if found.lacks:
        return [f"Nothing was traced: {found.lacks}."]
    lines = []
    count = len(found.answers)
    shown = f"{count:,}" if count == found.answers_of else f"{count:,} of {found.answers_of:,}"
    if found.share is not None:
        rare = sum(
            any(span.by_chance < CHANCE for span in answer.spans) for answer in found.answers
        )
        lines.append(
            f"{100 * found.share:.0f} % of the words of {shown} texts stand in the corpus word for "
            f"word, in spans of {found.least_words} words and more; {rare:,} texts have a span "
            "that is too rare for chance."
        )
        lines.append(
            f"Searched: {found.corpus_bytes / 1e6:,.1f} MB in {found.shards:,} "
            f"part{'s' * (found.shards != 1)}."
        )
    if found.passage_share is not None:
        lines.append(
            f"{100 * found.passage_share:.0f} % of the words of answers with passages stand in "
            "these word for word, in spans of three words and more."
        )
    lines += [f"Not read: {reason}." for reason in found.unread]
    return lines


def contamination_sentences(found: Contamination) -> list[str]:
    """The verdict, the tests behind it, and what could not be run."""
    if found.lacks:
        return [f"Contamination was not measured: {found.lacks}."]
    lines = [verdict_sentence(found)]
    lines += [test_sentence(test) for test in found.tests]
    if found.finished:
        lines.append(
            f"Of {found.finished} rows that were cut in half, it wrote the end of "
            f"{len(found.recited)} word for word."
        )
    if found.in_corpus is not None:
        lines.append(
            f"{found.in_corpus} of {found.corpus_rows} test rows stand in the corpus: 13 words in "
            "a row, or whole."
        )
    return lines


def verdict_sentence(found: Contamination) -> str:
    """The verdict on a task's test set in one sentence."""
    rows = f"{found.rows} of {found.rows_of} test rows"
    if found.verdict == "found":
        return (
            f"The test set of {found.task} is in this base, as far as {rows} tell: its scores "
            "there are too good."
        )
    if found.verdict == "no sign":
        return f"No sign that the test set of {found.task} is in this base ({rows})."
    return f"Whether the test set of {found.task} is in this base cannot be told."


def test_sentence(test: ContaminationTest) -> str:
    """One test with its p-value, or why it has none."""
    name = test.name.capitalize()
    if test.p_value is None:
        return f"{name}: not run, for {test.lacks}."
    mark = ", found" if test.found else ""
    return f"{name}: p = {test.p_value:.3g}{mark} ({test.detail})."
