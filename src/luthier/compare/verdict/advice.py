"""What to try next: rules over what was measured, each of which gives at most one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import stdev

from luthier.compare.comparison import TechniqueResult
from luthier.compare.plan import UNDERTRAINED_BELOW
from luthier.compare.verdict.evidence import Evidence, best_of
from luthier.compare.verdict.reasons import listed

LOW_PARSE_RATE = 0.9
MANY_CUT = 0.05
CEILING = 0.97
STILL_RISING = 0.01
FORGETTING_NATS = 0.2
WIDE_INTERVAL = 0.1
SEED_SPREAD = 0.05
GOOD_RECALL = 0.8
POOR_READER = 0.25  # of the recall


def advise(evidence: Evidence, pick: TechniqueResult | None) -> tuple[str, ...]:
    """The sentences of all rules that apply, the most important first. `pick` is the verdict's."""
    rules: tuple[Callable[[Evidence, TechniqueResult | None], str | None], ...] = (
        _unfinished,
        _unread_documents,
        _all_at_ceiling,
        _undertrained,
        _search_without_reader,
        _prompts_at_chance,
        _answers_cut,
        _tuned_below_untuned,
        _low_parse_rate,
        _rising_curve,
        _no_curve,
        _seeds_differ,
        _forgets,
        _too_few_test_examples,
        _leaks,
    )
    sentences = (rule(evidence, pick) for rule in rules)
    return tuple(sentence for sentence in sentences if sentence)


def _unfinished(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    results = [result for result in evidence.results if result.part_of is None]
    stopped = [result.technique for result in results if result.status == "stopped"]
    failed = [result.technique for result in results if result.status == "failed"]
    if stopped:
        return (
            f"{listed(stopped)} did not finish before the time limit: run the same command again "
            "to go on where it stopped."
        )
    if failed:
        return (
            f"{listed(failed)} failed: see the reason in the table, correct it, and run the "
            "same command again."
        )
    return None


def _unread_documents(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    runs = (run for result in evidence.results for run in result.runs)
    unread = dict.fromkeys(document for run in runs for document in run.fit.unread_documents)
    if not unread:
        return None
    count = f"{len(unread)} document" + "s" * (len(unread) > 1)
    return (
        f"{count} could not be read, and no answer was looked up there: {next(iter(unread))} "
        "Correct it, or leave it out of `knowledge`."
    )


def _all_at_ceiling(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    results = [r for r in evidence.scored if r.score.higher_is_better]
    if len(results) < 2 or not all((r.score.value or 0.0) >= CEILING for r in results):
        return None
    return (
        "Every technique is close to the highest possible score: take the cheapest, and collect "
        "harder examples if you want to tell them apart."
    )


def _undertrained(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    untried = evidence.untried
    if not untried or evidence.enough is None:
        return None
    names = listed([result.technique for result in untried])
    return (
        f"Run again with --budget {evidence.enough}: every fit then sees the training examples "
        f"{UNDERTRAINED_BELOW} times, and {names} can be judged."
    )


def _search_without_reader(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    for result in evidence.scored:
        found = [
            score.value
            for run in result.runs
            for score in run.secondary
            if score.metric == "recall@5" and score.value is not None
        ]
        score = result.score.value
        if not found or score is None or not result.score.higher_is_better:
            continue
        recall = sum(found) / len(found)
        if recall >= GOOD_RECALL and score <= POOR_READER * recall:
            return (
                f"The search of {result.technique} works and the reader fails: the passage that "
                f"answers is among the first five for {100 * recall:.0f} % of the questions, and "
                f"{evidence.task.metric} is {score:.3f}. Another search would not help: take a "
                "stronger --model, or train it to read (raft, or rag after lora)."
            )
    return None


def _tuned_below_untuned(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    for base in dict.fromkeys(r.base for r in evidence.prompts):
        prompts = [r for r in evidence.prompts if r.base == base]
        untuned = [r for r in prompts if not r.cost.fit_tokens]
        if not untuned:
            continue
        plain = best_of(untuned)
        below = [r for r in prompts if r.cost.fit_tokens and best_of([r, plain]) is plain]
        if below and plain.score.value is not None:
            return _below(below, plain)
    return None


def _below(below: Sequence[TechniqueResult], plain: TechniqueResult) -> str:
    names = listed([f"{r.technique} ({r.score.value:.3f})" for r in below])
    return (
        f"{names} scored no better than {plain.technique} ({plain.score.value:.3f}), which is not "
        "tuned at all: what was chosen on dev did not carry over to the test split."
    )


def _prompts_at_chance(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    chance = evidence.task.chance
    prompts = evidence.prompts
    if chance is None or not prompts or evidence.task.metric != "accuracy":
        return None
    if any(r.score.low is None or r.score.low > chance for r in prompts):
        return None
    return (
        "No prompt is clearly better than always answering the commonest label "
        f"({chance:.3f}): the base model is too weak to be prompted for this task. Train it, or "
        "try a stronger --model."
    )


def _answers_cut(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    cut = [(r.cut_answers or 0.0, r.technique) for r in evidence.scored]
    share, worst = max(cut, default=(0.0, ""))
    if share < MANY_CUT:
        return None
    return (
        f"{100 * share:.0f} % of the answers of {worst} were cut at the limit of new tokens: set "
        "`max_new_tokens` in the task file higher, unless these answers would never have ended."
    )


def _low_parse_rate(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    # The pick and the best prompt count: where one prompt is badly read, another may do well.
    prompts = evidence.prompts
    best_prompt = best_of(prompts) if prompts else None
    rates = [
        (result.parse_rate.value, result)
        for result in (pick, best_prompt)
        if result is not None and result.parse_rate.value is not None
    ]
    if not rates:
        return None
    rate, worst = min(rates, key=lambda pair: pair[0])
    if rate >= LOW_PARSE_RATE or (worst.cut_answers or 0.0) >= MANY_CUT:
        return None
    problem = (
        f"Only {100 * rate:.0f} % of what {worst.technique} would write "
        "by itself can be read as an answer"
    )
    if evidence.task.labels:
        return (
            f"{problem}; its score is that of the likeliest label. Serve it that way, as `luthier "
            "ask` does, and not as free text."
        )
    return (
        f"{problem}: the form of the answers is at fault before the knowledge is. Show "
        "demonstrations, or say in the instruction exactly how to answer."
    )


def _rising_curve(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    if pick is None or pick.score.value is None:
        return None
    points = sorted(
        (p for p in evidence.curve if p.technique == pick.technique),
        key=lambda point: point.train_examples,
    )
    seeds = {p.seed for p in points}
    full = [r.score.value for r in pick.runs if r.seed in seeds and r.score.value is not None]
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


def _no_curve(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    if pick is None or not pick.trained or evidence.curve:
        return None
    return "Run again with --curve to see whether more labelled examples would help."


def _seeds_differ(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    for result in evidence.scored:
        values = [run.score.value for run in result.runs if run.score.value is not None]
        if len(values) > 1 and stdev(values) > SEED_SPREAD and result.score.higher_is_better:
            return (
                f"{result.technique} depends on its seed (scores {min(values):.3f} to "
                f"{max(values):.3f}): use more --seeds before trusting its place."
            )
    return None


def _forgets(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    if pick is None or pick.off_task is None:
        return None
    lost = pick.off_task.after - pick.off_task.before
    if lost < FORGETTING_NATS:
        return None
    remedy = (
        "Keep it for this task alone, or take an adapter, which can be removed."
        if pick.family == "weights"
        else "For other work remove it: the base is as it was."
    )
    return (
        f"{pick.technique} has forgotten some of what the base knew: its loss on ordinary text "
        f"rose by {lost:.2f} nats a token. {remedy}"
    )


def _too_few_test_examples(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    if pick is None or pick.score.low is None or pick.score.high is None:
        return None
    width = pick.score.high - pick.score.low
    if width < WIDE_INTERVAL or not pick.score.higher_is_better:
        return None
    return (
        f"With {evidence.task.test_examples} test examples a score is known to within "
        f"±{width / 2:.2f}: four times as many would halve that. Decide on their number before you "
        "look again: a test split that grows until p < 0.05 proves nothing."
    )


def _leaks(evidence: Evidence, pick: TechniqueResult | None) -> str | None:
    leaks = evidence.task.leaks
    leaked = int(leaks.get("exact", 0) or 0) + int(leaks.get("near", 0) or 0)
    if not leaked or leaks.get("dropped", True):
        return None
    return (
        f"{leaked} examples are, exactly or nearly, in more than one split and were left there: "
        "scores are too high by what was memorised."
    )
