"""Which techniques to try first? (part 6)

The ranking is made before anything is fitted, by `advice_rule`, out of the measurements of
`advice_facts`. A comparison that begins with it says at its end whether the first choice was right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.probe.advice_facts import AdviceFacts
from luthier.probe.advice_rule import RULE, TRAINED, Passes, RuledTechnique, rank

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.probe.findings import Findings
    from luthier.probe.probe_request import ProbeRequest
    from luthier.probe.probed_text import ProbedText

USUAL = ("zero-shot", "few-shot", "prefix", "soft-prompt", "lora", "linear-probe")
LIKELY = 3  # that a sentence names


@dataclass(frozen=True, slots=True)
class AdvisedTechnique:
    """A technique in its place, and why it stands there. `expected` is what the rule expects on
    dev, None where it does not know the technique; it serves the order and no more. `base` is there
    where several were probed."""

    technique: str
    reason: str
    expected: float | None = None
    base: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """The ranking, best guess first. `lacks`: why there is none.

    `facts` holds what was measured of each base, by its name; `rule` is the version of the rule.
    """

    lacks: str = ""
    ranking: tuple[AdvisedTechnique, ...] = ()
    facts: Mapping[str, AdviceFacts] | None = None
    rule: str = RULE

    @property
    def first(self) -> str | None:
        """The first choice; None where nothing could be expected."""
        known = [one.technique for one in self.ranking if one.expected is not None]
        return known[0] if known else None

    def place(self, technique: str) -> int:
        """The place of a technique in the ranking, from 0; what is not in it comes last."""
        names = [one.technique for one in self.ranking]
        return names.index(technique) if technique in names else len(names)

    def sentences(self) -> list[str]:
        """The likely winners and why, and what was measured for it."""
        if self.first is None:
            return [self.lacks or "The rule knows none of these techniques."]
        known = [one for one in self.ranking if one.expected is not None]
        lines = [f"Try {known[0].technique} first. {known[0].reason}"]
        lines += [f"Then {one.technique}. {one.reason}" for one in known[1:LIKELY]]
        for base, facts in (self.facts or {}).items():
            prompts = max(facts.zero_shot or 0.0, facts.few_shot or 0.0)
            if facts.plain is not None and facts.plain > prompts:
                lines.append(
                    f"TF-IDF with logistic regression reaches {facts.plain:.2f} on dev, and "
                    f"{base} under a prompt {prompts:.2f}: ask whether it needs a language model."
                )
        return lines


def advise(
    findings: Findings, model: Model, request: ProbeRequest, texts: Sequence[ProbedText]
) -> Advice:
    """The advice of a probe: the usual techniques that suit the task and the base, each with the
    budget that a comparison gives by default, which is enough for a trial."""
    task = request.task
    if task is None:
        return Advice(
            lacks="No task was given, so that there is nothing to choose a technique for."
        )
    names = [name for name in USUAL if _suits(name, model, request)]
    if task.knowledge:
        names += ["rag", "rag -> few-shot"]
    return advice_for(lambda _: model, request, {findings.base: dict.fromkeys(names)})


def advice_for(
    model_of: Callable[[str], Model], request: ProbeRequest, techniques: Mapping[str, Passes]
) -> Advice:
    """The advice for one base or several: `techniques` holds, by the name of each base, the names
    of what is to be tried on it, with the passes that the budget of a fit buys.

    Where there are several bases a name ends in " on BASE", as in the table of a comparison.
    """
    from luthier.probe.fact_finding import measure_facts
    from luthier.scoring.resolve import scorer_for

    assert request.task is not None
    scorer = scorer_for(request.task)
    if scorer.needs_likelihood or not scorer.higher_is_better:
        return Advice(lacks=f"The rule is about scores that rise, and {scorer.metric} is none.")
    if not request.task.dev:
        return Advice(lacks="The task has no dev examples to measure on.")
    facts, found = {}, list[tuple[RuledTechnique, str]]()
    for base, passes in techniques.items():
        facts[base] = measure_facts(model_of(base), request)
        found += [(ruled, base) for ruled in rank(facts[base], passes)]
    several = len(techniques) > 1
    ranked = sorted(
        found, key=lambda pair: float("inf") if pair[0].expected is None else -pair[0].expected
    )
    return Advice(
        ranking=tuple(
            AdvisedTechnique(
                f"{one.technique} on {base}" if several else one.technique, one.reason,
                one.expected, base if several else "",
            )
            for one, base in ranked
        ),
        facts=facts,
    )  # fmt: skip


def _suits(name: str, model: Model, request: ProbeRequest) -> bool:
    from luthier.records import Capability

    task, facts = request.task, model.backend.facts
    assert task is not None
    if name == "linear-probe":
        return bool(task.labels) and Capability.EMBEDDINGS in model.capabilities
    if name == "prefix" and facts.encoder_decoder:
        return False
    if name in TRAINED:
        return bool(task.train) and Capability.GRADIENTS in model.capabilities
    return name != "few-shot" or bool(task.train)
