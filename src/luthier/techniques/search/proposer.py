"""Reflective evolution of the instruction by a language model that writes: the `gepa` package.

GEPA (arXiv:2507.19457): the proposer reads a few examples with what the model answered and what
would have been right, and rewrites the instruction. A rewrite that does better on those few is
scored on all dev examples and joins a Pareto front, from which the next parent is drawn.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.content import Message, Response
from luthier.errors import TechniqueError
from luthier.models.answering import wants_chat
from luthier.models.backend import GenerateRequest
from luthier.models.model import Model
from luthier.models.prompt import Prompt, Rendered
from luthier.records import Example, FitStep
from luthier.techniques.search.calibration import Calibration
from luthier.techniques.search.candidate import Candidate
from luthier.techniques.search.evaluator import CandidateEvaluator, balanced_order, score_answers
from luthier.techniques.search.token_budget import (
    TokenBudget,
    computed_tokens_of,
    estimate_tokens,
)

MOST_NEW_TOKENS = 1024  # of an instruction that a proposer writes
EXAMPLES_A_REFLECTION = 4  # examples that the proposer reads at a time
MOST_REFLECTION_EXAMPLES = 64  # training examples set aside for the proposer to read

log = logging.getLogger(__name__)


def require_gepa() -> None:
    """TechniqueError where the `gepa` package is not installed."""
    if importlib.util.find_spec("gepa") is None:
        raise TechniqueError(
            "prompt-search with a proposer needs the package gepa, which is not installed",
            next_step='Install it (pip install "luthier[proposer]"), or leave the proposer out.',
        )


class Proposer:
    """A language model as the function from text to text that gepa calls. It counts its tokens, and
    spends them from `budget` where one is given."""

    def __init__(self, model: Model, *, seed: int, budget: TokenBudget | None = None) -> None:
        self._model = model
        self._seed = seed
        self._budget = budget
        self.calls = 0
        self.tokens = 0
        self.longest = 2 * MOST_NEW_TOKENS  # tokens of the dearest call, at first a guess
        self.written = 0  # of its tokens, those it generated

    def __call__(self, prompt: str | list[dict[str, Any]]) -> str:
        """What the model writes after `prompt`: a text, or chat messages as dicts."""
        turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if wants_chat(self._model, self._model.adaptation.prompt):
            rendered = Rendered(messages=tuple(Message("user", str(t["content"])) for t in turns))
        else:
            rendered = Rendered(text="\n\n".join(str(t["content"]) for t in turns))
        decoding = replace(
            self._model.adaptation.decoding,
            labels=(),
            label_bias=(),
            max_new_tokens=MOST_NEW_TOKENS,
            temperature=1.0,
            stop=(),
        )
        request = GenerateRequest(rendered, seed=self._seed + self.calls)
        adaptation = replace(self._model.adaptation, decoding=decoding)
        written = self._model.backend.generate([request], adaptation)[0]
        self.calls += 1
        spent = computed_tokens_of(written.usage)
        self.longest = max(spent, self.longest if self.calls > 1 else 0)
        self.tokens += spent
        self.written += written.usage.generated_tokens
        if self._budget is not None:
            self._budget.spend(written.usage)
        return written.text


class ReflectionAdapter:
    """What gepa asks of the system that it improves: answer a batch under a candidate, and explain
    the result.

    gepa's candidate is {"instruction": text}; the rest of `model`, demonstrations and biases
    included, stays. Once the budget, less `reserve`, does not pay for a batch, the batch scores 0
    and the search ends (`exhausted`).
    """

    propose_new_texts = None

    def __init__(self, evaluator: CandidateEvaluator, model: Model, *, reserve: float) -> None:
        self.evaluator = evaluator
        self.model = model
        self.reserve = reserve
        self.exhausted = False

    def evaluate(
        self, batch: list[Example], candidate: dict[str, str], capture_traces: bool = False
    ) -> Any:
        """The scores of a batch and, where asked for, its traces, as a gepa EvaluationBatch."""
        from gepa.core.adapter import EvaluationBatch

        prompt = replace(self.model.adaptation.prompt, instruction=candidate["instruction"])
        model = self.model.adapt(prompt=prompt)
        estimate, budget = estimate_tokens(model, batch), self.evaluator.token_budget
        if self.exhausted or not budget.affords(estimate, reserve=self.reserve):
            self.exhausted = True
            answers = [Response("", None, False) for _ in batch]
            scores = [0.0 for _ in batch]
        else:
            budget.evaluations_done += 1
            reflection = Candidate("reflection", model, {})
            answers = self.evaluator.answer(reflection, model, batch, estimate=estimate)
            scores = score_answers(self.evaluator.task, batch, answers)
        traces = list(zip(batch, answers, scores, strict=True)) if capture_traces else None
        return EvaluationBatch(outputs=answers, scores=scores, trajectories=traces)

    def make_reflective_dataset(
        self, candidate: dict[str, str], eval_batch: Any, components_to_update: list[str]
    ) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """For each example: the input, the answer, and what would have been right."""
        rows = []
        for example, answer, score in eval_batch.trajectories:
            inputs = {"input": example.text}
            if example.context:
                inputs["passage"] = example.context
            rows.append(
                {
                    "Inputs": inputs,
                    "Generated Outputs": answer.answer,
                    "Feedback": _feedback(example, answer, score),
                }
            )
        return dict.fromkeys(components_to_update, rows)


class DebugLog:
    """gepa's messages, which would go to stdout, as debug records."""

    def log(self, message: str) -> None:
        log.debug("%s", message)


def evolve_instruction(
    evaluator: CandidateEvaluator,
    start: Candidate,
    *,
    calibration: Calibration,
    proposer: Proposer,
    rewrites: int,
    seed: int,
) -> Candidate | None:
    """The best rewrite of the instruction of `start`, as a candidate; None where none is better.

    The proposer is asked `rewrites` times at most, and what it reads and writes is part of the
    budget. The search stops before that is spent: what scoring the winner like any other candidate
    takes is held back.
    """
    import gepa

    set_aside = _reflection_examples(evaluator, start.prompt, seed=seed)
    reserve = evaluator.token_budget.cost_of(estimate_tokens(start.model, evaluator.examples))
    first = estimate_tokens(start.model, [*evaluator.examples, *set_aside[:EXAMPLES_A_REFLECTION]])
    held_back = reserve + (proposer.longest if evaluator.token_budget.tokens is not None else 0)
    if not set_aside or not evaluator.token_budget.affords(first, reserve=held_back):
        return None
    # What the proposer reads must not be in the pool of the nearest: its answer would stand there.
    shown = {(e.text, e.target) for e in set_aside}
    kept = tuple(d for d in start.prompt.demonstrations if (d.input, d.target) not in shown)
    fitted = evaluator.fitted_model(start, calibration)
    adapter = ReflectionAdapter(
        evaluator, fitted.adapt(prompt=replace(start.prompt, demonstrations=kept)), reserve=reserve
    )

    def ends(state: Any) -> bool:
        # A batch without a mistake brings no rewrite, so the turns are counted as well.
        budget = evaluator.token_budget
        is_poor = budget.tokens is not None and budget.left - reserve < proposer.longest
        is_over = proposer.calls >= rewrites or state.i >= 3 * rewrites
        return adapter.exhausted or is_poor or is_over

    result = gepa.optimize(
        seed_candidate={"instruction": start.prompt.instruction},
        trainset=set_aside,
        valset=evaluator.examples,
        adapter=adapter,
        reflection_lm=proposer,
        reflection_minibatch_size=min(EXAMPLES_A_REFLECTION, len(set_aside)),
        stop_callbacks=[ends],
        logger=DebugLog(),
        seed=seed,
        track_best_outputs=False,
        raise_on_exception=True,
    )
    scores = result.val_aggregate_scores
    for place, proposal in enumerate(result.candidates):
        evaluator.history.append(
            FitStep(
                candidate=f"rewrite {place}" if place else f"{start.name}, to be rewritten",
                part="instruction",
                instruction=proposal["instruction"],
                examples=len(evaluator.examples),
                dev_score=float(scores[place]),
                spent_tokens=evaluator.token_budget.spent,
            )
        )
    best = result.candidates[int(np.argmax(scores))]["instruction"]
    if best == start.prompt.instruction:
        return None
    candidate = evaluator.add(
        "rewritten", replace(start.prompt, instruction=best), part="instruction"
    )
    return candidate if evaluator.evaluate(candidate, len(evaluator.examples)) else None


def _reflection_examples(
    evaluator: CandidateEvaluator, prompt: Prompt, *, seed: int
) -> list[Example]:
    """Training examples for the proposer to read, none of them a fixed demonstration."""
    fixed = prompt.demonstrations if prompt.selection == "all" else ()
    used = {(d.input, d.target) for d in fixed}
    free = [e for e in evaluator.task.train if (e.text, e.target) not in used]
    return balanced_order(free, seed=seed)[: min(MOST_REFLECTION_EXAMPLES, len(free) // 2)]


def _feedback(example: Example, answer: Response, score: float) -> str:
    if score >= 1.0:
        return "Right."
    scored = answer.label_logprobs
    if scored and example.target in scored:
        order = sorted(scored, key=lambda label: -scored[label])
        return (
            f"The right answer is {example.target}; it came in place "
            f"{order.index(example.target) + 1} of {len(order)}."
        )
    unread = "" if answer.parseable else " The answer could not be read as one of those allowed."
    return f"The right answer is {example.target}.{unread}"
