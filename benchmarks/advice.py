"""Is the advice right? Twelve small tasks: the advice first, then a comparison.

    python -m benchmarks.advice [--folder build/advice] [--group first|last] [TASK …]
    python -m benchmarks.advice --rule
    python -m benchmarks.advice --table

Every task is compared with the budget that lets each fit see its training examples three times, one
seed. It can be killed at any moment and goes on when it is called again; what has finished is left
alone. `--rule` holds the present constants of the rule against what has finished, without running
anything. `--table` writes docs/advice.md and benchmarks/results/plans/advice.json.

The rule is settled on the tasks of FIRST. It is fixed, and `RULE` in `luthier/probe/advice_rule.py`
raised, before those of LAST are run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.small_tasks import (
    BANKING6,
    SmallTask,
    banking15,
    banking77,
    clinc150,
    loaded,
)
from luthier.compare.comparison import Comparison
from luthier.compare.judge_advice import judge_advice
from luthier.compare.options import Options
from luthier.compare.run_comparison import compare
from luthier.probe.advice_record import AdviceOutcome, AdviceRecord
from luthier.probe.advice_rule import RULE, rank
from luthier.probe.probe_advice import Advice, AdvisedTechnique

DECODER = "zero-shot,few-shot,prefix,lora,linear-probe"
BOTH_WAYS = "zero-shot,few-shot,soft-prompt,lora,linear-probe"
DOCUMENTS = "zero-shot,few-shot,soft-prompt,lora,rag"

FIRST = (
    SmallTask("routing", "nano", lambda: loaded("routing")),
    SmallTask("sst2", "nano", lambda: loaded("examples/sentiment.yaml")),
    SmallTask("banking-6", "nano-reader", lambda: banking77(BANKING6)),
    SmallTask("clinc-work", "nano", lambda: clinc150("work")),
    SmallTask(
        "xquad", "nano-reader", lambda: loaded("examples/xquad.yaml", train=120, dev=60, test=150)
    ),
    SmallTask("sentfin", "nano", lambda: loaded("examples/headlines.yaml", accuracy=True)),
)
LAST = (
    SmallTask("clinc-cards", "nano-reader", lambda: clinc150("credit_cards")),
    SmallTask("banking-15", "nano", lambda: banking15(train_count=240)),
    SmallTask("pydoc", "nano-reader", lambda: loaded("pydoc", train=120, dev=60, test=150)),
    SmallTask("docstrings", "nano", lambda: loaded("docstrings")),
    SmallTask(
        "sst2-few", "nano-reader", lambda: loaded("examples/sentiment.yaml", train=24, test=200)
    ),
    SmallTask("clinc-bank-few", "nano", lambda: clinc150("banking", train_count=60)),
)
TASKS = {task.name: task for task in (*FIRST, *LAST)}
ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "plans" / "advice.json"
PAGE = ROOT / "docs" / "advice.md"


def run(task: SmallTask, folder: Path) -> Comparison:
    """The comparison of a task; one that has finished is read."""
    place = folder / task.name
    if (place / "comparison.json").is_file():
        made = Comparison.load(place)
        if made.advice_outcome is not None:
            return made
    opened = task.make()
    techniques = BOTH_WAYS if task.base == "nano-reader" else DECODER
    techniques = DOCUMENTS if opened.knowledge else techniques
    return compare(
        opened, task.base, techniques=techniques, seeds=1, out=place,
        options=Options(advise=True, embedder="none"),
    )  # fmt: skip


def finished(folder: Path) -> dict[str, Comparison]:
    """What has been compared to its end, by the name of the task."""
    made = {
        name: Comparison.load(folder / name)
        for name in TASKS
        if (folder / name / "comparison.json").is_file()
    }
    return {name: one for name, one in made.items() if one.advice_outcome is not None}


def by_present_rule(made: Comparison) -> Advice:
    """The advice that the present constants give for what was measured then."""
    assert made.plan.advice is not None
    assert made.plan.advice.facts is not None
    (facts,) = made.plan.advice.facts.values()
    passes = {p.name: p.estimate.epochs for p in made.plan.techniques if p.skip_reason is None}
    ranking = (AdvisedTechnique(r.technique, r.reason, r.expected) for r in rank(facts, passes))
    return Advice(ranking=tuple(ranking), facts=made.plan.advice.facts)


def outcome(made: Comparison) -> AdviceOutcome:
    """The outcome of the present rule: as it was given where that was by this rule."""
    given = made.advice_outcome
    assert given is not None
    if given.rule == RULE:
        return given
    again = judge_advice(
        by_present_rule(made), made.verdict, made.results, task=made.task.name, base=given.base
    )
    assert again is not None
    return again


def show_rule(folder: Path) -> None:
    """What the present rule expects of each technique, and what the test split showed."""
    for name, made in finished(folder).items():
        judged = outcome(made)
        print(f"{name} ({made.model.name}): first {judged.first}, hit {judged.hit}")
        for one in by_present_rule(made).ranking:
            score = made.result(one.technique).score.value
            best = any(t.technique == one.technique and t.among_best for t in judged.tried)
            shown = "–" if score is None else f"{score:.3f}"
            expected = "–" if one.expected is None else f"{one.expected:.3f}"
            print(f"   {one.technique:14} expected {expected}  test {shown}{' among best' * best}")


def row(name: str, made: Comparison) -> dict[str, Any]:
    """A task in figures."""
    advice, judged = made.plan.advice, outcome(made)
    assert advice is not None
    assert advice.facts is not None
    (facts,) = advice.facts.values()
    return {
        "task": name,
        "group": "first" if name in {t.name for t in FIRST} else "last",
        "base": made.model.name,
        "train": made.task.train_examples,
        "test": made.task.test_examples,
        "dev": {
            "zero-shot": facts.zero_shot, "few-shot": facts.few_shot, "plain": facts.plain,
            "open book": facts.open_book,
        },
        "first": judged.first,
        "hit": judged.hit,
        "reason": judged.reason,
        "given_by_rule": made.advice_outcome.rule if made.advice_outcome else None,
        "scores": {r.technique: r.score.value for r in made.results},
        "among_best": [t.technique for t in judged.tried if t.among_best],
        "pick": judged.pick,
    }  # fmt: skip


def page(made: dict[str, Comparison]) -> str:
    """docs/advice.md."""
    rows = [row(name, one) for name, one in made.items()]
    lines = [
        "# Advice and verdicts",
        "",
        "Twelve small tasks, the advice of the [probe](guides/probe.md) before anything was "
        "fitted, and what a comparison then said: one seed, three passes over the training "
        "examples in each fit, `zero-shot`, `few-shot`, `prefix` (over nano) or `soft-prompt` "
        "(over nano-reader), `lora`, and `linear-probe` or, with documents, `rag`. A choice is "
        "right where it is among the best: the best, the pick, and what the tests cannot tell from "
        "the best. `python -m benchmarks.advice` makes this page.",
        "",
        "The rule was settled on the first six, and fixed before the last six were run.",
        "",
    ]
    if not rows:
        return "\n".join(
            [*lines, "No task has been run to its end yet, so that no figure stands here.", ""]
        )
    for group in ("first", "last"):
        names = [t.name for t in (FIRST if group == "first" else LAST)]
        own = [one for one in rows if one["task"] in names]
        lines += [f"## The {group} six", ""]
        if not own:
            lines += ["Not run yet.", ""]
            continue
        lines += [
            "| task | base | train | on dev: zero-shot, few-shot, words, open book | first choice "
            "| among the best (test score) | right |",
            "|---|---|---|---|---|---|---|",
            *(_line(one) for one in own),
            "",
            *_rates([outcome(made[one["task"]]) for one in own]),
            "",
        ]
        missing = [name for name in names if name not in made]
        lines += [f"Not run yet: {', '.join(missing)}.", ""] if missing else []
    lines += ["## All together", "", *_rates([outcome(one) for one in made.values()]), ""]
    return "\n".join(lines)


def _line(one: dict[str, Any]) -> str:
    dev = ", ".join("–" if value is None else f"{value:.2f}" for value in one["dev"].values())
    best = ", ".join(f"{name} ({one['scores'][name]:.3f})" for name in one["among_best"])
    right = {True: "yes", False: "no", None: f"– ({one['reason']})"}[one["hit"]]
    again = "" if one["given_by_rule"] == RULE else " †"
    return (
        f"| {one['task']} | {one['base']} | {one['train']} | {dev} | {one['first']}{again} "
        f"| {best} | {right} |"
    )


def _rates(outcomes: list[AdviceOutcome]) -> list[str]:
    record = AdviceRecord(tuple(outcomes))
    return [f"- {rate.words()}" for rate in record.rates]


def main() -> int:
    """Run what is asked for, or print or write what has finished."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []])
    parser.add_argument("--folder", type=Path, default=Path("build/advice"))
    parser.add_argument("--group", choices=["first", "last"])
    parser.add_argument("--rule", action="store_true")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.rule:
        show_rule(given.folder)
        return 0
    if given.table:
        made = finished(given.folder)
        text = page(made)
        if "†" in text:
            text += (
                "\n† The same measurements by the present rule; the advice was given by an earlier "
                "one.\n"
            )
        PAGE.write_text(text, "utf-8")
        figures = [row(name, one) for name, one in made.items()]
        RESULTS.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
        print(text)
        return 0
    groups = {"first": FIRST, "last": LAST, None: (*FIRST, *LAST)}
    names = given.tasks or [task.name for task in groups[given.group]]
    for name in names:
        made = run(TASKS[name], given.folder)
        said = "" if made.advice_outcome is None else made.advice_outcome.sentence()
        print(name, made.verdict.because, said, sep="\n  ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
