"""Prompt search: the parts of a prompt are searched in turn, by a bandit under the budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from luthier.errors import TechniqueError, did_you_mean
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Budget, Capability, HelperUse, Lineage
from luthier.safety.hosts import refuse_password
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.prompt.zero_shot import require_label_scores
from luthier.techniques.search.calibration import (
    allowed_calibrations,
    check_calibration,
    scores_labels,
)
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.context_window import fits, shrink_to_context
from luthier.techniques.search.demonstrations import (
    demonstration_pool,
    demonstration_prompts,
    initial_demonstration_prompts,
    model_and_pool,
    round_robin,
    without_demonstrations,
)
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.halving import (
    HalvingResult,
    choose,
    close_to_best,
    ranked,
    successive_halving,
)
from luthier.techniques.search.proposer import Proposer, evolve_instruction, require_gepa
from luthier.techniques.search.sharpening import sharpen
from luthier.techniques.search.token_budget import TokenBudget
from luthier.techniques.search.variants import (
    Variant,
    format_variants,
    instruction_variants,
)
from luthier.techniques.setting_checks import check_whole_numbers
from luthier.training.starting_prompt import starting_model

UNCHANGED = "as it was"  # the name of the prompt that the model brings
PARTS = ("demonstrations", "format", "instruction", "wording")


@dataclass(frozen=True)
class PromptSearch(Technique):
    """Instruction, format, demonstrations and calibration, chosen together on dev.

    Each round takes one of `parts` in turn: it changes that part of the best prompts so far, the
    most promising changes first, and runs successive halving under its share of the budget. The
    first round has half of it, and where that does not pay for a comparison, as much as one takes.
    The last part, "wording", is no draw: it sharpens the best prompt step by step (pointed,
    labels described, what the labels that are mixed up differ in) and keeps what helps.

    **Settings**

    - `candidates`: how many changed prompts a round tries, at most.
    - `rounds`, `parts`: how many rounds, and which parts of the prompt they change.
    - `calibrate`: as in `FewShot`.
    - `proposer`: a language model (anything that `luthier.load` opens) that rewrites the
      instruction after the rounds, by reflective evolution (the `gepa` package), on the half of the
      budget that is held back for it.
    - `rewrites`: how often it is asked, at most.
    """

    candidates: int = 12
    rounds: int = 4
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
        source="format arXiv:2310.11324; halving arXiv:1502.07943; "
        "proposer arXiv:2507.19457 (GEPA)",
    )

    def __post_init__(self) -> None:
        check_calibration(self.name, self.calibrate)
        parts = (self.parts,) if isinstance(self.parts, str) else tuple(self.parts)
        object.__setattr__(self, "parts", parts)
        for part in parts or ("",):
            if part not in PARTS:
                raise TechniqueError(
                    f"prompt-search: {part!r} is no part that can be searched",
                    choices=PARTS,
                    next_step=did_you_mean(part, PARTS),
                )
        refuse_password(self.proposer or "", of="the address of the proposer")
        check_whole_numbers(self, candidates=1, rounds=1, rewrites=1)

    @property
    def seeded(self) -> bool:
        """True: the variants that are tried are drawn at random."""
        return True

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with the prompt that the search chose.

        Raises TechniqueError where a proposer is asked for and gepa is not installed, and
        CapabilityError where a calibration is demanded of a model without log-probabilities.
        """
        check_needs(self, model)
        require_label_scores(self.name, self.calibrate, model, task)
        if self.proposer is not None:
            require_gepa()
        started, notes = shrink_to_context(starting_model(model, task), (*task.train, *task.dev))
        decoding = started.adaptation.decoding
        evaluator = CandidateEvaluator(
            started,
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=allowed_calibrations(
                self.calibrate, can_score=scores_labels(started, decoding)
            ),
            seed=seed,
        )
        first = evaluator.add(UNCHANGED, started.adaptation.prompt, part="start")
        reserve = evaluator.token_budget.left / 2 if self.proposer is not None else 0.0
        finalists = [first]
        for number in range(self.rounds):
            finalists = self._round(evaluator, finalists, number=number, reserve=reserve, seed=seed)
        choice = choose(finalists)
        proposer_facts: dict[str, int] = {}
        helpers: tuple[HelperUse, ...] = ()
        if self.proposer is not None:
            choice, proposer_facts, use = self._rewritten(evaluator, finalists, choice, seed=seed)
            helpers = (use,)
        prompt = choice.candidate.prompt
        record = evaluator.record(
            helpers=helpers,
            train_examples=len(prompt.demonstrations),
            dev_score=choice.dev_score,
            settled={
                "candidate": choice.candidate.name,
                "instruction": prompt.instruction,
                "selection": prompt.selection,
                "shots": prompt.shots or len(prompt.demonstrations),
                "calibration": choice.calibration,
                **proposer_facts,
            },
            notes=(*notes, *choice.notes),
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return evaluator.fitted_model(choice.candidate, choice.calibration).adapt(lineage=lineage)

    def _round(
        self,
        evaluator: CandidateEvaluator,
        best: list[Candidate],
        *,
        number: int,
        reserve: float,
        seed: int,
    ) -> list[Candidate]:
        """Change one part of the best prompts; returns the finalists so far, the best first.

        `number` is that of the round, from 0; `reserve` is what the round leaves of the budget.
        """
        part = self.parts[number % len(self.parts)]
        if part == "wording":
            start = choose(best).candidate
            left = evaluator.token_budget.left
            later = left - (left - reserve) / min(2, self.rounds - number)
            found = sharpen(evaluator, start, most=self.candidates, reserve=later)
            return ranked([*found, *(c for c in best if c not in found)])
        parents = _parents(best)
        sources = {
            place: self._variants(evaluator, parent.prompt, part, number=number, seed=seed)
            for place, parent in enumerate(parents)
        }
        candidates = list(parents)
        for place, variant in round_robin(sources):
            parent = parents[place]
            name = variant.name if parent.name == UNCHANGED else f"{parent.name}; {variant.name}"
            before = len(evaluator.candidates)
            candidate = evaluator.add(name, variant.prompt, part=variant.part, change=variant.name)
            if len(evaluator.candidates) > before and not fits(candidate.model, evaluator.examples):
                continue
            if candidate not in candidates:
                candidates.append(candidate)
            if len(candidates) >= self.candidates + len(parents):
                break
        # A bare base starts where few-shot does; an adapted model is known to be good with the
        # prompt that it brings.
        bare_base = not number and part == "demonstrations" and evaluator.model.lineage is None
        if bare_base:
            candidates.insert(2, candidates.pop(0))
        left = evaluator.token_budget.left
        for_later_rounds = left - (left - reserve) / min(2, self.rounds - number)
        finalists = successive_halving(
            evaluator, candidates, reserve=for_later_rounds, least_reserve=reserve
        )
        if bare_base and not finalists:
            return candidates[:1]
        return ranked([*finalists, *(c for c in best if c not in finalists)])

    def _variants(
        self, evaluator: CandidateEvaluator, prompt: Prompt, part: str, *, number: int, seed: int
    ) -> Iterator[Variant]:
        """`prompt` with one part changed, promising changes first; each round draws others."""
        task, round_seed = evaluator.task, seed + number // len(self.parts)
        if part == "instruction":
            return instruction_variants(prompt, task)
        if part == "format":
            chat = evaluator.model.backend.facts.prefers_chat
            return format_variants(prompt, task, seed=round_seed, chat=chat)
        if not number:
            return _initial_demonstrations(evaluator, prompt, seed=round_seed)
        return _demonstrations(evaluator, prompt, seed=round_seed)

    def _rewritten(
        self,
        evaluator: CandidateEvaluator,
        finalists: list[Candidate],
        choice: HalvingResult,
        *,
        seed: int,
    ) -> tuple[HalvingResult, dict[str, int], HelperUse]:
        from luthier.models.load import load

        assert self.proposer is not None
        budget = evaluator.token_budget
        writer = load(self.proposer)
        proposer = Proposer(writer, seed=seed, budget=budget)
        candidate = evolve_instruction(
            evaluator,
            choice.candidate,
            calibration=choice.calibration,
            proposer=proposer,
            rewrites=self.rewrites,
            seed=seed,
        )
        facts = {"proposer_calls": proposer.calls, "proposer_tokens": proposer.tokens}
        use = HelperUse(
            writer.backend.name,
            writer.backend.facts.remote,
            proposer.tokens - proposer.written,
            proposer.written,
        )
        if candidate is None:
            note = (
                f"{self.proposer} wrote {proposer.calls} instructions, and none did better on dev."
            )
            return replace(choice, notes=(*choice.notes, note)), facts, use
        return choose([*finalists, candidate]), facts, use


def _parents(best: list[Candidate]) -> list[Candidate]:
    """The best prompt and, where one is close to it, a second.

    One with demonstrations of another kind goes first: what helps beside some may not help beside
    others.
    """

    def kind(candidate: Candidate) -> tuple[str, bool]:
        return candidate.prompt.selection, bool(candidate.prompt.demonstrations)

    first, *others = close_to_best(best, errors=2.0)
    others.sort(key=lambda c: kind(c) == kind(first))
    return [first, *others[:1]]


def _initial_demonstrations(
    evaluator: CandidateEvaluator, prompt: Prompt, *, seed: int
) -> Iterator[Variant]:
    """The prompts that few-shot tries first, and after them one without demonstrations."""
    bare = without_demonstrations(prompt)
    started, pool, _ = model_and_pool(evaluator.model.adapt(prompt=bare), evaluator.task)
    if pool.max_shots > 0:
        for _, name, found in initial_demonstration_prompts(
            started, pool, evaluator.task, selection="auto", shots=None, sets=2, seed=seed
        ):
            yield Variant("demonstrations", name, found)
    yield Variant("demonstrations", "no demonstrations", bare)


def _demonstrations(
    evaluator: CandidateEvaluator, prompt: Prompt, *, seed: int
) -> Iterator[Variant]:
    """Every kind of set that fits, and none."""
    bare = without_demonstrations(prompt)
    asked = (*evaluator.task.train, *evaluator.task.dev)
    pool = demonstration_pool(evaluator.model, bare, evaluator.task.train, asked)
    if pool.max_shots > 0:
        for _, name, found in demonstration_prompts(
            bare, pool, selection="auto", shots=None, sets=2, seed=seed
        ):
            yield Variant("demonstrations", name, found)
    yield Variant("demonstrations", "no demonstrations", bare)
