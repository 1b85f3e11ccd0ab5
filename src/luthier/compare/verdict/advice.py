"""What to try next: plain rules over what was measured. Each rule gives at most one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import stdev
from typing import TYPE_CHECKING

from luthier.compare.comparison import TechniqueResult

if TYPE_CHECKING:
    from luthier.compare.verdict.decide import Evidence

LOW_PARSE_RATE = 0.9
CEILING = 0.97
STILL_RISING = 0.01
FORGETTING_NATS = 0.2
WIDE_INTERVAL = 0.1
SEED_SPREAD = 0.05


def advise(evidence: Evidence, pick: TechniqueResult | None) -> tuple[str, ...]:
    """The sentences of all rules that apply, the most telling first."""
    rules: tuple[Callable[[Evidence, TechniqueResult | None], str | None], ...] = (
        _unfinished,
        _unread_documents,
        _all_at_ceiling,
        _prompts_at_chance,
        _low_parse_rate,
        _rising_curve,
        _no_curve,
        _seeds_differ,
        _forgets,
        _too_few_test_examples,
        _leaks,
    )
    found = (rule(evidence, pick) for rule in rules)
    return tuple(sentence for sentence in found if sentence)


def _rated(evidence: Evidence) -> list[TechniqueResult]:
    return [r for r in evidence.rows if r.score.value is not None and r.part_of is None]


def _unfinished(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    whole = [row for row in evidence.rows if row.part_of is None]
    stopped = [row.technique for row in whole if row.status == "stopped"]
    failed = [row.technique for row in whole if row.status == "failed"]
    if stopped:
        return (
            f"{_and(stopped)} did not finish before the time limit: run the same command again to "
            "go on where it stopped."
        )
    if failed:
        return (
            f"{_and(failed)} failed: see the reason in the table, mend it, and run the same "
            "command again."
        )
    return None


def _unread_documents(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    runs = (run for row in evidence.rows for run in row.seeds)
    unread = dict.fromkeys(document for run in runs for document in run.fit.unread_documents)
    if not unread:
        return None
    count = f"{len(unread)} document" + "s" * (len(unread) > 1)
    return (
        f"{count} could not be read, and no answer was looked up there: {next(iter(unread))} "
        "Mend it, or leave it out of `knowledge`."
    )


def _all_at_ceiling(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    rows = [r for r in _rated(evidence) if r.score.higher_is_better]
    if len(rows) < 2 or not all((r.score.value or 0.0) >= CEILING for r in rows):
        return None
    return (
        "Every technique is close to the highest possible score: take the cheapest, and collect "
        "harder examples if you want to tell them apart."
    )


def _prompts_at_chance(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    chance = evidence.task.chance
    prompts = [r for r in _rated(evidence) if r.family == "prompt"]
    if chance is None or not prompts or evidence.task.metric != "accuracy":
        return None
    if any(r.score.low is None or r.score.low > chance for r in prompts):
        return None
    return (
        "No prompt is clearly better than always answering the commonest label "
        f"({chance:.3f}): the base model is too weak to be prompted for this task. Train it, or "
        "try a stronger --model."
    )


def _low_parse_rate(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    # Of the pick, and of the best prompt: what a bare prompt does badly another may do well.
    prompts = [r for r in _rated(evidence) if r.family == "prompt"]
    looked_at = [r for r in (pick, best_of(prompts) if prompts else None) if r is not None]
    rates = [(r.parse_rate.value, r) for r in looked_at if r.parse_rate.value is not None]
    if not rates:
        return None
    rate, worst = min(rates, key=lambda pair: pair[0])
    if rate >= LOW_PARSE_RATE:
        return None
    said = (
        f"Only {100 * rate:.0f} % of what {worst.technique} would write "
        "by itself can be read as an answer"
    )
    if evidence.task.labels:
        return (
            f"{said}; its score is that of the likeliest label. Serve it that way, as `luthier "
            "ask` does, and not as free text."
        )
    return (
        f"{said}: the form is at fault before the knowledge is. Show demonstrations, or say in "
        "the instruction exactly how to answer."
    )


def _rising_curve(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    if pick is None or pick.score.value is None:
        return None
    points = sorted((p for p in evidence.curve if p.technique == pick.technique), key=_size)
    seeds = {p.seed for p in points}
    full = [s.score.value for s in pick.seeds if s.seed in seeds and s.score.value is not None]
    values = [p.score.value for p in points if p.score.value is not None]
    if not values or not full:
        return None
    gain = sum(full) / len(full) - values[-1]
    gain = gain if pick.score.higher_is_better else -gain
    if gain < STILL_RISING:
        return None
    share = points[-1].fraction
    return (
        f"{pick.technique} was still gaining when the examples ran out (+{gain:.3f} from "
        f"{100 * share:.0f} % of them to all): more labelled examples should pay."
    )


def _size(point: object) -> int:
    return int(getattr(point, "train_examples", 0))


def _no_curve(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    if pick is None or not pick.trained or evidence.curve:
        return None
    return "Run again with --curve to see whether more labelled examples would help."


def _seeds_differ(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    for row in _rated(evidence):
        values = [s.score.value for s in row.seeds if s.score.value is not None]
        if len(values) > 1 and stdev(values) > SEED_SPREAD and row.score.higher_is_better:
            return (
                f"{row.technique} depends on its seed (scores {min(values):.3f} to "
                f"{max(values):.3f}): use more --seeds before trusting its place."
            )
    return None


def _forgets(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    if pick is None or pick.off_task is None:
        return None
    lost = pick.off_task.after - pick.off_task.before
    if lost < FORGETTING_NATS:
        return None
    apart = (
        "Keep it for this task alone, or take an adapter, which can be taken off."
        if pick.family == "weights"
        else "For other work take it off: the base is as it was."
    )
    return (
        f"{pick.technique} has forgotten some of what the base knew: its loss on ordinary text "
        f"rose by {lost:.2f} nats a token. {apart}"
    )


def _too_few_test_examples(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    if pick is None or pick.score.low is None or pick.score.high is None:
        return None
    width = pick.score.high - pick.score.low
    if width < WIDE_INTERVAL or not pick.score.higher_is_better:
        return None
    return (
        f"With {evidence.task.test_examples} test examples a score is known to within "
        f"±{width / 2:.2f}: four times as many would halve that."
    )


def _leaks(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    leaks = evidence.task.leaks
    found = int(leaks.get("exact", 0) or 0) + int(leaks.get("near", 0) or 0)
    if not found or leaks.get("dropped", True):
        return None
    return (
        f"{found} examples stand, the same or nearly, in more than one split and were left there: "
        "scores are too high by what was memorised."
    )


def best_of(rows: Sequence[TechniqueResult]) -> TechniqueResult:
    """The row with the best mean score; the first of equals."""

    def rank(row: TechniqueResult) -> float:
        value = float("-inf") if row.score.value is None else row.score.value
        return value if row.score.higher_is_better else -value

    return max(rows, key=rank)


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
