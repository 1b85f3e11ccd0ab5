"""Tools: the model may call something before it answers. Which tools it is shown, how they are
described, and which solved examples with calls stand before the question is settled on dev."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.content import ToolSignature, ToolStep
from luthier.errors import TechniqueError
from luthier.models.adaptation import ToolUse
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.models.tool_loop import open_tools
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.context_window import fits
from luthier.techniques.search.evaluator import CandidateEvaluator
from luthier.techniques.search.halving import choose, successive_halving
from luthier.techniques.search.token_budget import TokenBudget
from luthier.techniques.setting_checks import check_whole_numbers
from luthier.techniques.tools.traces import steps_by_question, trace_examples, with_steps
from luthier.tools.named_addresses import name_addresses
from luthier.training.starting_prompt import starting_model

SHOTS = (4, 8, 2)  # nearest solved examples, in order of promise
MOST_POOL = 200  # solved examples to choose the nearest from


@dataclass(frozen=True)
class ToolCalling(Technique):
    """Tools for a task.

    **Settings**

    - `tools`: addresses ("sql:shop.db", "calculator"); none: those of the task.
    - `names`: the tools that are shown; none: all, or those that training examples call, whichever
      does better on dev.
    - `shots`: solved examples with their calls, the nearest to each question; None tries 4, 8, 2
      and none.
    - `steps`: the most generations of one answer.
    - `allow`: names of tools that may change things without a question.
    """

    tools: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    shots: int | None = None
    steps: int = 4
    allow: tuple[str, ...] = ()

    name: ClassVar[str] = "tools"
    family: ClassVar[str] = "tools"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT})
    trained: ClassVar[bool] = False
    footprint: ClassVar[Footprint] = Footprint(demonstrations=8)
    card: ClassVar[Card] = Card(
        changes="what the model may do before it answers: call tools and read what they return",
        needs="tools that know or can do what the task asks; text",
        pays_when="answers stand in a database or a service, or need exact arithmetic",
        costs="two requests or more for each answer, the time of the tools, and their risk",
        source="Schick et al. 2023, arXiv:2302.04761; Yao et al. 2022, arXiv:2210.03629; "
        "calls are matched as in BFCL, Patil et al. 2025",
    )

    def __post_init__(self) -> None:
        check_whole_numbers(self, optional=("shots",), shots=0, steps=1)

    def unmet_by_task(self, task: Task) -> str | None:
        """In words, that the task names no tools; None where it does."""
        if self.tools or task.tools:
            return None
        return "the task names no tools: write `tools:` in the task file, or tools(tools=…)"

    def before(self, model: Model, task: Task) -> tuple[Model, Task]:
        """A technique before this one in a recipe is fitted on traces: it learns to call, and to
        answer from results. The tools are not listed then: what is trained needs no list."""
        use = replace(self._use(task), listed=False)
        box = open_tools(use)
        use = replace(use, signatures=self._chosen(tuple(t.signature for t in box.tools)))
        steps = steps_by_question((*task.train, *task.dev), box)
        if not steps:
            return model, task
        with_tools = model.adapt(tools=use)
        train, dev = (trace_examples(with_tools, s, steps) for s in (task.train, task.dev))
        return with_tools, replace(task, train=train, dev=dev or task.dev)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """The model with tools, shown in the way that did best on dev.

        UserError where the tools cannot be opened, before anything is spent.
        """
        check_needs(self, model)
        use = self._use(task)
        box = open_tools(use)
        signatures = self._chosen(tuple(tool.signature for tool in box.tools))
        steps = steps_by_question(task.train, box)
        started = starting_model(model, task)
        trained = model.adaptation.tools is not None and not model.adaptation.tools.listed
        evaluator = CandidateEvaluator(
            started.adapt(tools=replace(use, signatures=signatures)),
            task,
            token_budget=TokenBudget.of(budget, model),
            calibrations=("none",),
            seed=seed,
        )
        candidates = list(
            self._candidates(
                started, task, replace(use, signatures=signatures),
                steps=steps, trained=trained, seed=seed,
            )
        )  # fmt: skip
        evaluator.candidates += candidates
        choice = choose(successive_halving(evaluator, candidates) or candidates[:1])
        fitted = choice.candidate.model
        shown, chosen = fitted.adaptation.prompt, fitted.adaptation.tools
        assert chosen is not None
        record = evaluator.record(
            train_examples=len(steps),
            dev_score=choice.dev_score,
            settled={
                "candidate": choice.candidate.name,
                "tools": ", ".join(s.name for s in chosen.signatures),
                "shots": shown.shots if shown.demonstrations else 0,
            },
            notes=(*box.notes, *choice.notes),
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return fitted.adapt(lineage=lineage)

    def _use(self, task: Task) -> ToolUse:
        """The tools, unopened, under the limits of the task."""
        limits = task.spec.tool_limits
        steps = self.steps if limits is None else min(self.steps, limits.steps)
        return ToolUse((), self._addresses(task), self.allow, steps, limits=limits)

    def _addresses(self, task: Task) -> tuple[str, ...]:
        name_addresses(self.tools)
        addresses = self.tools or task.tools
        if not addresses:
            raise TechniqueError(f"tools: {self.unmet_by_task(task)}")
        return addresses

    def _chosen(self, signatures: tuple[ToolSignature, ...]) -> tuple[ToolSignature, ...]:
        if not self.names:
            return signatures
        known = {s.name: s for s in signatures}
        unknown = [name for name in self.names if name not in known]
        if unknown:
            raise TechniqueError(
                f"tools: there is no tool {unknown[0]!r}", choices=tuple(known),
                next_step="See: luthier tools ADDRESS",
            )  # fmt: skip
        return tuple(known[name] for name in self.names)

    def _candidates(
        self, model: Model, task: Task, use: ToolUse, *,
        steps: dict[str, tuple[ToolStep, ...]], trained: bool, seed: int,
    ) -> Iterator[Candidate]:  # fmt: skip
        """What is worth trying, in order of promise; each fits the context."""
        asked = (*task.train, *task.dev)
        called = Counter(step.name for known in steps.values() for step in known)
        fewer = replace(use, signatures=tuple(s for s in use.signatures if s.name in called))
        brief = replace(use, signatures=tuple(map(_briefly, use.signatures)))
        uses = [("all tools", use)]
        if 0 < len(fewer.signatures) < len(use.signatures) and not self.names:
            uses.insert(0, ("the tools that examples call", fewer))
        if brief != use:
            uses.append(("all tools in a few words", brief))
        if trained:
            uses = [("as trained", replace(use, listed=False)), *uses[:1]]
        own = model.adaptation.prompt
        prompts = [("", _shown_with(own, steps))] if own.demonstrations else []
        if not own.demonstrations or self.shots is not None:
            prompts = list(self._prompts(own, task, steps, seed=seed))
        found: list[Candidate] = []
        for place, (what, prompt) in enumerate(prompts):
            for in_words, one in uses if place == 0 else uses[:1]:
                candidate = model.adapt(tools=one, prompt=prompt)
                if found and not fits(candidate, asked[:100]):
                    continue
                name = ", ".join(words for words in (in_words, what) if words)
                found.append(Candidate(name, candidate, {"part": "tools"}))
        return iter(found)

    def _prompts(
        self, prompt: Prompt, task: Task, steps: dict[str, tuple[ToolStep, ...]], *, seed: int
    ) -> Iterator[tuple[str, Prompt]]:
        solved = [e for e in task.train if e.text in steps]
        random.Random(seed).shuffle(solved)
        pool = tuple(Demonstration(e.text, e.target, e.context, steps[e.text]) for e in solved)
        counts: Sequence[int] = SHOTS if self.shots is None else (self.shots,)
        for count in counts if pool else ():
            if count:
                shown = replace(
                    prompt, demonstrations=pool[:MOST_POOL], selection="knn",
                    shots=min(count, len(pool)),
                )  # fmt: skip
                yield f"{count} nearest", shown
        if not pool or self.shots in (None, 0):
            yield "no example", replace(prompt, demonstrations=(), selection="all", shots=0)


def _briefly(signature: ToolSignature) -> ToolSignature:
    """The tool with the first sentence of its description."""
    first = signature.description.split(". ")[0]
    return replace(signature, description=first if first.endswith(".") else f"{first}.")


def _shown_with(prompt: Prompt, steps: dict[str, tuple[ToolStep, ...]]) -> Prompt:
    return replace(prompt, demonstrations=with_steps(prompt.demonstrations, steps))
