"""Prompt search: the parts of a prompt, each searched in its turn, by a bandit under the budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from luthier.errors import TechniqueError, did_you_mean
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Budget, Capability, FitRecord, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.prompt.zero_shot import demand_scores
from luthier.techniques.search.calibration import allowed, check_setting
from luthier.techniques.search.candidates import (
    Variant,
    format_variants,
    instruction_variants,
)
from luthier.techniques.search.context_window import fits, shrink_to_context
from luthier.techniques.search.demonstrations import (
    demonstration_sets,
    first_sets,
    in_turn_of,
    supply,
    with_room,
)
from luthier.techniques.search.evaluator import CandidateEvaluator, Trial
from luthier.techniques.search.halving import HalvingResult, choose, close_to_best, halve, ranked
from luthier.techniques.search.proposer import Proposer, evolve, require_gepa
from luthier.techniques.search.starting_prompt import (
    scores_labels,
    starting_decoding,
    starting_prompt,
)
from luthier.techniques.search.token_budget import TokenBudget

PARTS = ("demonstrations", "format", "instruction")


@dataclass(frozen=True)
class PromptSearch(Technique):
    """Instruction, format, demonstrations and calibration, chosen together on dev.

    Each round takes one of `parts` in turn: it changes that part of the best prompts so far in up
    to `candidates` ways, the most promising first, and halves them under its share of the budget.
    The first has half of it, and where that does not pay for a comparison, as much as one takes.
    `calibrate` is as in `FewShot`. With `proposer` (anything `luthier.load` opens), a language model
    then rewrites the instruction up to `rewrites` times, by reflective evolution (the `gepa`
    package), on what is left of the budget: half.
    """

    candidates: int = 12
    rounds: int = 3
    parts: tuple[str, ...] = PARTS
    calibrate: bool | Literal["auto", "none", "contextual", "batch", "prior"] = "auto"
    proposer: str | None = None
    rewrites: int = 20

    name: ClassVar[str] = "prompt-search"
    family: ClassVar[str] = "prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    trained: ClassVar[bool] = False
    footprint: ClassVar[Footprint] = Footprint(demonstrations=8)
    card: ClassVar[Card] = Card(
        changes="the prompt, part by part: demonstrations, format, instruction; the label biases",
        needs="text, labelled dev examples; log-probabilities to calibrate; gepa with a proposer",
        pays_when="weights cannot be trained, or the model is large and the wording matters",
        costs="the largest search on dev of the prompt family; requests as long as what it picks",
        source="format arXiv:2310.11324; halving arXiv:1502.07943; proposer arXiv:2507.19457 (GEPA)",
    )

    def __post_init__(self) -> None:
        check_setting(self.name, self.calibrate)
        parts = (self.parts,) if isinstance(self.parts, str) else tuple(self.parts)
        object.__setattr__(self, "parts", parts)
        for part in parts or ("",):
            if part not in PARTS:
                raise TechniqueError(
                    f"prompt-search: {part!r} is no part that can be searched",
                    choices=PARTS,
                    next_step=did_you_mean(part, PARTS),
                )
        for setting in ("candidates", "rounds", "rewrites"):
            value = getattr(self, setting)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise TechniqueError(
                    f"prompt-search: {setting}={value!r} must be a whole number of at least 1"
                )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with the prompt that the search chose.

        Raises TechniqueError where a proposer is asked for and gepa is not installed, CapabilityError
        where a calibration is demanded of a model without log-probabilities.
        """
        check_needs(self, model)
        demand_scores(self.name, self.calibrate, model, task)
        if self.proposer is not None:
            require_gepa()
        decoding = replace(starting_decoding(model, task), label_bias=())
        started, notes = shrink_to_context(
            model.adapt(prompt=starting_prompt(model, task), decoding=decoding),
            (*task.train, *task.dev),
        )
        evaluator = CandidateEvaluator(
            started,
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=allowed(self.calibrate, can_score=scores_labels(started, decoding)),
            seed=seed,
        )
        first = evaluator.enter("as it was", started.adaptation.prompt, part="start")
        keep = evaluator.token_budget.left / 2 if self.proposer is not None else 0.0
        finalists = [first]
        for number in range(self.rounds):
            finalists = self._round(evaluator, finalists, number=number, keep=keep, seed=seed)
        choice = choose(finalists)
        proposer_facts: dict[str, int] = {}
        if self.proposer is not None:
            choice, proposer_facts = self._rewritten(evaluator, finalists, choice, seed=seed)
        prompt = choice.trial.prompt
        record = FitRecord(
            fit_seconds=evaluator.seconds,
            spent_tokens=evaluator.token_budget.spent,
            trainable_parameters=0,
            train_examples=len(prompt.demonstrations),
            dev_score=choice.dev_score,
            settled={
                "candidate": choice.trial.name,
                "instruction": prompt.instruction,
                "selection": prompt.selection,
                "shots": prompt.shots or len(prompt.demonstrations),
                "calibration": choice.calibration,
                **proposer_facts,
            },
            history=tuple(evaluator.history),
            notes=(*notes, *choice.notes),
        )
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return evaluator.fitted(choice.trial, choice.calibration).adapt(lineage=lineage)

    def _round(
        self,
        evaluator: CandidateEvaluator,
        best: list[Trial],
        *,
        number: int,
        keep: float,
        seed: int,
    ) -> list[Trial]:
        """One part of the best prompts, changed; returns the finalists so far."""
        part = self.parts[number % len(self.parts)]
        parents = _parents(best)
        rows = {
            place: self._variants(evaluator, parent.prompt, part, number=number, seed=seed)
            for place, parent in enumerate(parents)
        }
        entered = list(parents)
        for place, variant in in_turn_of(rows):
            parent = parents[place]
            name = variant.name if parent.name == "as it was" else f"{parent.name}; {variant.name}"
            before = len(evaluator.trials)
            trial = evaluator.enter(name, variant.prompt, part=variant.part, change=variant.name)
            if len(evaluator.trials) > before and not fits(trial.model, evaluator.examples):
                continue
            if trial not in entered:
                entered.append(trial)
            if len(entered) >= self.candidates + len(parents):
                break
        # A base that nothing is known of starts where few-shot does; an adapted model is known to
        # be good with the prompt it brings.
        unknown = not number and part == "demonstrations" and evaluator.model.lineage is None
        if unknown:
            entered.insert(2, entered.pop(0))
        later = evaluator.token_budget.left - (evaluator.token_budget.left - keep) / min(
            2, self.rounds - number
        )
        left = halve(evaluator, entered, keep=later, least_kept=keep)
        if unknown and not left:
            return entered[:1]
        return ranked([*left, *(t for t in best if t not in left)])

    def _variants(
        self, evaluator: CandidateEvaluator, prompt: Prompt, part: str, *, number: int, seed: int
    ) -> Iterator[Variant]:
        """`prompt` with one part changed, promising changes first; another draw in each round."""
        task, draw = evaluator.task, seed + number // len(self.parts)
        if part == "instruction":
            return instruction_variants(prompt, task)
        if part == "format":
            chat = evaluator.model.backend.facts.prefers_chat
            return format_variants(prompt, task, seed=draw, chat=chat)
        if not number:
            return _shown_first(evaluator, prompt, seed=draw)
        return _demonstrations(evaluator, prompt, seed=draw)

    def _rewritten(
        self,
        evaluator: CandidateEvaluator,
        finalists: list[Trial],
        choice: HalvingResult,
        *,
        seed: int,
    ) -> tuple[HalvingResult, dict[str, int]]:
        from luthier.models.load import load

        assert self.proposer is not None
        proposer = Proposer(load(self.proposer), seed=seed)
        trial = evolve(
            evaluator,
            choice.trial,
            calibration=choice.calibration,
            proposer=proposer,
            rewrites=self.rewrites,
            seed=seed,
        )
        facts = {"proposer_calls": proposer.calls, "proposer_tokens": proposer.tokens}
        if trial is None:
            note = (
                f"{self.proposer} wrote {proposer.calls} instructions, and none did better on dev."
            )
            return replace(choice, notes=(*choice.notes, note)), facts
        return choose([*finalists, trial]), facts


def _parents(best: list[Trial]) -> list[Trial]:
    """The best prompt and, where one is close to it, a second: with demonstrations of another kind
    if there is such, since what helps beside some may not help beside others."""

    def kind(trial: Trial) -> tuple[str, bool]:
        return trial.prompt.selection, bool(trial.prompt.demonstrations)

    first, *others = close_to_best(best, errors=2.0)
    others.sort(key=lambda t: kind(t) == kind(first))
    return [first, *others[:1]]


def _shown_first(evaluator: CandidateEvaluator, prompt: Prompt, *, seed: int) -> Iterator[Variant]:
    """What few-shot tries first, and after it none."""
    bare = replace(prompt, demonstrations=(), selection="all", shots=0)
    roomy, offer, _ = with_room(evaluator.model.adapt(prompt=bare), evaluator.task)
    if offer.most > 0:
        for _, name, shown in first_sets(
            roomy, offer, evaluator.task, selection="auto", shots=None, sets=2, seed=seed
        ):
            yield Variant("demonstrations", name, shown)
    yield Variant("demonstrations", "no demonstrations", bare)


def _demonstrations(
    evaluator: CandidateEvaluator, prompt: Prompt, *, seed: int
) -> Iterator[Variant]:
    """None, and every kind of set that fits."""
    bare = replace(prompt, demonstrations=(), selection="all", shots=0)
    asked = (*evaluator.task.train, *evaluator.task.dev)
    offer = supply(evaluator.model, bare, evaluator.task.train, asked)
    if offer.most > 0:
        for _, name, shown in demonstration_sets(
            bare, offer, selection="auto", shots=None, sets=2, seed=seed
        ):
            yield Variant("demonstrations", name, shown)
    yield Variant("demonstrations", "no demonstrations", bare)
