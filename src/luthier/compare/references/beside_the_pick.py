"""What the references say about the verdict: does the pick beat them, and is it needed at all?"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.compare.comparison import Run, TechniqueResult
from luthier.compare.references.commonest_answer import CommonestAnswer
from luthier.records import PairedTest


def reference_tests(
    references: Sequence[TechniqueResult], results: Sequence[TechniqueResult]
) -> tuple[PairedTest, ...]:
    """Each technique against each reference; corrected among those with the same reference."""
    from luthier.scoring import paired_tests

    runs = {
        result.technique: finished
        for result in results
        if result.score.value is not None and result.part_of is None
        and (finished := _finished(result))
    }  # fmt: skip
    return tuple(
        test
        for reference in references
        if reference.score.value is not None
        for test in paired_tests(
            {**runs, reference.technique: _finished(reference)}, against=reference.technique
        )
    )


def reference_sentence(
    references: Sequence[TechniqueResult],
    tests: Sequence[PairedTest],
    shown: TechniqueResult | None,
) -> str:
    """What the best reference reaches, and how `shown` stands to it: the pick, or the best
    technique where there is no pick. "" where no reference has a score."""
    scored = [reference for reference in references if reference.score.value is not None]
    if not scored:
        return ""
    best = max(scored, key=_rank)
    reached = f"{best.technique} reaches {best.score.metric} {best.score.value:.3f}"
    if shown is None or shown.score.value is None:
        return f"Without a language model {reached} on the same examples."
    test = next(
        (t for t in tests if {t.first, t.second} == {shown.technique, best.technique}), None
    )
    if test is None:
        return f"Without a language model {reached} on the same examples."
    difference = f"difference {abs(test.difference):.3f}, p = {test.p_adjusted:.2g}"
    if test.better == shown.technique:
        return (
            f"It beats what needs no language model: {reached} on the same examples ({difference})."
        )
    if best.technique == CommonestAnswer.name:
        return (
            f"This base, at this budget, does not beat always giving the commonest answer: "
            f"{reached} on the same examples."
        )
    if test.better == best.technique:
        return (
            f"You do not need a language model for this: {reached} on the same examples, more than "
            f"{shown.technique} with {shown.score.value:.3f} ({difference}). This base, at this "
            "budget, does not beat it."
        )
    if best.score.value == 0.0 and best.score.higher_is_better:
        return (
            f"Neither is of use here: {reached} on the same examples, and the paired test cannot "
            f"tell {shown.technique} with {shown.score.value:.3f} from it ({difference})."
        )
    return (
        f"You may not need a language model for this: {reached} on the same examples, and the "
        f"paired test cannot tell it from {shown.technique} ({difference}). This base, at this "
        "budget, does not clearly beat it."
    )


def _rank(result: TechniqueResult) -> float:
    value = result.score.value or 0.0
    return value if result.score.higher_is_better else -value


def _finished(result: TechniqueResult) -> list[Run]:
    return [run for run in result.runs if run.status == "finished"]
