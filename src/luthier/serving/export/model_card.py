"""The model card that is written with each export: what it is, how good, what it costs, what it
cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.compare.comparison import Comparison, TechniqueResult
from luthier.models.model import Model
from luthier.records import Score
from luthier.serving.export.plain_rescoring import Rescored


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card is written from."""

    model: Model
    target: str
    how: str
    comparison: Comparison | None = None
    result: TechniqueResult | None = None
    rescored: Rescored | None = None
    rescored_with: str = ""


def write_card(folder: Path, facts: CardFacts) -> Path:
    """Write MODEL_CARD.md."""
    path = folder / "MODEL_CARD.md"
    path.write_text(card_text(facts), "utf-8")
    return path


def card_text(facts: CardFacts) -> str:
    """The card as Markdown."""
    model, comparison, result = facts.model, facts.comparison, facts.result
    technique = "the bare base" if model.lineage is None else model.lineage.technique
    lines = [f"# {technique} on {model.backend.name}", ""]
    lines += [f"- base: {model.backend.name}, fingerprint {model.backend.fingerprint[:16]}"]
    lines += [
        f"- changed: {', '.join(model.adaptation.filled) or 'nothing'}",
        f"- form: {facts.target}",
    ]
    if model.lineage is not None:
        fit = model.lineage.fit
        lines += [f"- seed {model.lineage.seed}; tuning tokens: {_number(fit.spent_tokens)}"]
    if comparison is not None:
        task = comparison.task
        lines += [
            f"- task: {task.name} ({task.kind}), data fingerprint {task.fingerprint[:16]}, "
            f"{task.train_examples} train, {task.dev_examples} dev, {task.test_examples} test",
            f"- instruction: {task.instruction}",
        ]
    if result is not None:
        lines += [
            "",
            "## Measured",
            "",
            f"- {_score(result.score)}",
            f"- {_score(result.parse_rate)}",
        ]
        cost = result.cost
        lines += [
            f"- one fit: {_number(cost.fit_seconds)} s",
            f"- artifact: {_number(cost.artifact_bytes)} bytes",
            f"- a request: {_number(cost.tokens_per_request)} tokens, "
            f"{_number(cost.latency_p50_ms)} ms (median), {_number(cost.latency_p95_ms)} ms (p95)",
        ]
    lines += ["", "## Scored again in this form", ""]
    again = facts.rescored
    if again is None:
        lines += ["It was not scored again: there were no test examples at hand."]
    else:
        left = (
            f" {again.long} did not fit into the context and were left out." if again.long else ""
        )
        ties = f" ({again.ties} differ by a tie that rounding decides)" if again.ties else ""
        lines += [
            f"{again.equal} of {again.examples} test answers are those that were measured, "
            f"by {facts.rescored_with}{ties}.{left}"
        ]
    lines += ["", "## Use", "", "```", facts.how, "```", "", "## Limits", ""]
    lines += _limits(facts)
    return "\n".join(lines) + "\n"


def _limits(facts: CardFacts) -> list[str]:
    decoding = facts.model.adaptation.decoding
    lines = ["- It was measured on this task's test split; elsewhere nothing is known of it."]
    if decoding.labels:
        labels = ", ".join(decoding.labels)
        lines.append(
            f"- It answers with one of these labels, the likeliest one: {labels}. A server that "
            "writes freely has to be held to them."
        )
    if decoding.label_bias:
        lines.append("- Labels are chosen after their bias is subtracted (`luthier.yaml`).")
    if decoding.json_schema is not None or decoding.regex is not None:
        lines.append("- Its answers follow a grammar, which the server has to be given.")
    return lines


def _score(score: Score) -> str:
    interval = "" if score.low is None else f" (95 % interval {score.low:.3f} to {score.high:.3f})"
    return f"{score.metric}: {_number(score.value)}{interval}"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.4g}"
