"""What the numbers are based on: data and splits, statistics, seeds, machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from luthier.compare.comparison import Comparison
from luthier.compare.subject import BaseFacts
from luthier.report import amounts
from luthier.report.metric_view import MetricView

Pairs = list[tuple[str, str]]
_PROVENANCE = {
    "luthier": "Luthier",
    "python": "Python",
    "torch": "PyTorch",
    "transformers": "Transformers",
    "peft": "PEFT",
    "platform": "system",
    "cpu": "processor",
    "cpu_cores": "cores",
    "memory_bytes": "memory",
    "precision": "matrix products in",
    "git_commit": "commit of the working folder",
    "time": "time",
}


@dataclass(frozen=True, slots=True)
class LeakSample:
    """One example found in two splits."""

    where: str
    similarity: str


@dataclass(frozen=True, slots=True)
class AgainstReferences:
    """A row for each technique, a cell for each reference (`columns`)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def against_references(comparison: Comparison, metric_view: MetricView) -> AgainstReferences | None:
    """The tests of techniques against references; None where there are none."""
    tests = {(test.first, test.second): test for test in comparison.reference_tests}
    if not tests:
        return None

    def cell(technique: str, reference: str) -> str:
        test = tests.get((technique, reference))
        if test is None:
            return amounts.UNMEASURED
        low, high = metric_view.difference(test.low), metric_view.difference(test.high)
        p = amounts.probability(test.p_adjusted)
        return f"{metric_view.difference(test.difference)} [{low} to {high}], p {p}"

    columns = tuple(dict.fromkeys(second for _, second in tests))
    names = dict.fromkeys(first for first, _ in tests)
    rows = tuple((name, tuple(cell(name, column) for column in columns)) for name in names)
    return AgainstReferences(columns, rows)


def data_facts(comparison: Comparison) -> Pairs:
    """The task and its splits."""
    task = comparison.task
    splits = (
        f"{task.train_examples:,} train, {task.dev_examples:,} dev, {task.test_examples:,} test"
    )
    pairs = [("kind", task.kind), ("splits", splits)]
    limit = comparison.plan.limit
    if limit is not None and limit < task.test_examples:
        pairs.append(("scored on", f"the first {limit:,} test examples only"))
    if task.labels:
        pairs.append((f"{len(task.labels)} labels", ", ".join(task.labels)))
    if task.chance is not None:
        pairs.append(
            (
                "commonest label",
                f"{amounts.rate(task.chance)} of the test split: what always "
                "answering it would score in accuracy",
            )
        )
    pairs += [("note", note) for note in task.notes]
    pairs.append(("fingerprint", task.fingerprint or amounts.UNMEASURED))
    return pairs


def leak_sentences(leaks: Mapping[str, Any]) -> list[str]:
    """The leak check in words; a count that was not recorded is not mentioned."""
    if not leaks:
        return ["The leak check left no record."]
    sentences = []
    exact, near = leaks.get("exact"), leaks.get("near")
    if exact == 0 and near == 0:
        sentences.append(
            "No example of train or dev occurs again, exactly or nearly, in a later split."
        )
    else:
        for number, kind in ((exact, "exact"), (near, "near")):
            if number is not None:
                sentences.append(f"{amounts.plural(number, f'{kind} duplicate')} across splits.")
        if leaks.get("dropped") is True:
            sentences.append(
                "They were taken out of train and dev; the test split kept its copies."
            )
        elif leaks.get("dropped") is False:
            sentences.append(
                "They were left in: the scores of techniques that learnt from them may be too high."
            )
    documents = leaks.get("documents")
    if documents:
        sentences.append(
            f"{amounts.plural(documents['found'], 'test input')} stood in the documents together "
            f"with the answer ({documents['read']:,} of "
            f"{amounts.plural(documents['documents'], 'document')} looked through)."
        )
    for key, noun in (("repeated", "row"), ("conflicting", "input")):
        number = leaks.get(key)
        if number:
            tail = (
                "that repeated another of the same split, dropped."
                if key == "repeated"
                else "with more than one target: no technique can get them all right."
            )
            sentences.append(f"{amounts.plural(number, noun)} {tail}")
    return sentences


def leak_samples(leaks: Mapping[str, Any]) -> list[LeakSample]:
    """Some of the leaks, by id."""
    found = []
    for sample in leaks.get("samples") or ():
        here = f"{sample.get('split')} {sample.get('example_id')}"
        there = f"{sample.get('found_split')} {sample.get('found_id')}"
        found.append(LeakSample(f"{here} in {there}", amounts.rate(sample.get("similarity"))))
    return found


def how_made(comparison: Comparison, metric_view: MetricView) -> list[str]:
    """How to read the numbers, in sentences."""
    plan = comparison.plan
    sentences = [
        f"Every technique was scored by the same code on the same {plan.test_examples:,} test "
        "examples; the task that a technique is fitted on has no test split.",
        f"A score is the mean {metric_view.name} over seeds. Its 95 % interval is Wilson's for one "
        "run whose answers are right or wrong, else a bootstrap over examples (over groups, where "
        "examples come in groups); with several seeds the spread between them is part of it. The "
        "seed that represents a technique is chosen on dev, never on test.",
        "Readable answers are counted apart from the score. Where labels are ranked by their "
        "probability there is always an answer; it counts as readable if the model would have "
        "written one of the labels by itself.",
    ]
    if comparison.tests:
        sentences.append(
            "Each technique is compared with the best, example by example: a max-t bootstrap that "
            "chooses its best anew in each replicate, so that intervals and p hold for all "
            f"{amounts.plural(len(comparison.tests), 'comparison')} together. Examples and seeds "
            "are two crossed sources of variance; that of the seeds is pooled over the techniques "
            "that have any, with Satterthwaite's degrees of freedom. Tied means that the test "
            "could not tell two apart at 5 %, not that they are equal."
        )
        sentences.append(
            f"The pick is the cheapest technique within {comparison.verdict.tolerance:g} points of "
            "the best. At most how far each is below the truly best is Hsu's bound, with 95 % "
            "confidence for all at once. A test split that grows until p < 0.05 proves nothing: "
            "decide on its size before the run."
        )
    if len(comparison.bases) > 1:
        sentences.append(
            "All bases and techniques are one family: each row is compared with the best of all. A "
            "fit may spend equally many tokens on each base, counted by its own tokenizer. A token "
            "of one base costs more than one of another, so that the verdict compares costs in "
            "FLOPs, or in money where a provider bills tokens."
        )
    sentences.append(_budget(comparison))
    if plan.seeds:
        sentences.append(
            f"Techniques whose fit depends on a seed ran with {amounts.plural(plan.seeds, 'seed')} "
            "each."
        )
    if plan.hard_cap_seconds is not None:
        sentences.append(f"All fits together had at most {amounts.seconds(plan.hard_cap_seconds)}.")
    sentences.append(f"{amounts.UNMEASURED} marks what was not measured. It never stands for zero.")
    return sentences


def _budget(comparison: Comparison) -> str:
    plan = comparison.plan
    tuned = [p for p in plan.to_run if p.footprint.tunes and p.budget_tokens is not None]
    if not tuned or tuned[0].budget_tokens is None:
        return "Tuning had no token limit."
    fits = sum(len(planned.seeds) for planned in tuned)
    whole = ""
    if plan.budget_tokens is not None:
        whole = f", of {amounts.scaled(plan.budget_tokens)} for {amounts.plural(fits, 'fit')}"
    elif plan.budget_minutes is not None:
        minutes = amounts.seconds(60 * plan.budget_minutes)
        whole = f", from {minutes} for {amounts.plural(fits, 'fit')} at the measured speed"
    return (
        f"Every fit had the same tuning budget: {amounts.scaled(tuned[0].budget_tokens)} "
        f"forward-token equivalents{whole} (scoring a token counts 1, training on it 2 with a "
        "frozen base and 3 with trainable weights)."
    )


def machine(comparison: Comparison) -> Pairs:
    """Versions and machine."""
    provenance = comparison.provenance
    pairs = []
    for item in fields(provenance):
        value = getattr(provenance, item.name)
        if value is None:
            continue
        text = amounts.size(value) if item.name == "memory_bytes" else str(value)
        if item.name == "time" and text.endswith("+00:00"):
            text = text[:16].replace("T", " ") + " UTC"
        pairs.append((_PROVENANCE.get(item.name, item.name.replace("_", " ")), text))
    pairs.append(("comparison", comparison.id))
    return pairs


def base_facts(comparison: Comparison, base: BaseFacts) -> Pairs:
    """What is known about a base model."""
    facts, speed = base.facts, comparison.plan.speeds.get(base.short)
    pairs = [("name", base.name)]
    written = [
        ("architecture", facts.architecture),
        ("parameters", None if facts.parameters is None else amounts.scaled(facts.parameters)),
        ("layers", None if facts.layers is None else str(facts.layers)),
        ("width", None if facts.hidden_size is None else str(facts.hidden_size)),
        ("vocabulary", None if facts.vocabulary is None else amounts.count(facts.vocabulary)),
        (
            "context",
            None
            if facts.context_length is None
            else f"{amounts.count(facts.context_length)} tokens",
        ),
        ("device", facts.device),
        ("number format", facts.dtype),
        ("capabilities", ", ".join(base.capabilities) or None),
        (
            "measured speed",
            None if speed is None else f"{amounts.count(round(speed))} tokens a second forward",
        ),
        ("fingerprint", base.fingerprint or None),
    ]
    return pairs + [(name, text) for name, text in written if text is not None]
