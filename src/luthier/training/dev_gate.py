"""The score on a task's dev split, example by example, of a model while it trains.

A gate (`training.health`) compares it with the start. The task that preferences belong to is scored
by the answers that the gate samples anyway. A task that the model had before is asked anew, under
its own prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch

from luthier.engine import Session, generate, score_continuations
from luthier.models.answering import render_for
from luthier.models.backend import GenerateRequest
from luthier.models.model import Model
from luthier.models.parsing import read_response
from luthier.records import Example
from luthier.scoring.resolve import scorer_for
from luthier.scoring.scorer import Scorer
from luthier.task.judge_spec import judge_source
from luthier.task.task import Task
from luthier.training.dev_eval import dev_examples, label_requests, label_tokens
from luthier.training.policy import Policy
from luthier.training.rows import rows_for

FEWEST_SCORED = 16
MOST_SCORED = 48


@dataclass(frozen=True, slots=True)
class DevScores:
    """A score for each example, the higher the better, and the tokens that they took."""

    scores: tuple[float, ...]
    spent: int = 0


# From the examples of a gate and the answers that it sampled.
DevScore = Callable[[Sequence[Example], Sequence[str]], DevScores]


def by_its_answers(task: Task) -> DevScore | None:
    """Scores a gate's own answers with the task's scorer. None where that scorer is a judge (it
    would be asked at every evaluation), or needs more than a text."""
    scorer = _of_text(task)
    if scorer is None:
        return None

    def scored(examples: Sequence[Example], answers: Sequence[str]) -> DevScores:
        known = [(e, a) for e, a in zip(examples, answers, strict=True) if e.target]
        return DevScores(tuple(_score(scorer, e, a) for e, a in known))

    return scored


def by_asking(policy: Policy, task: Task, *, tokens: int) -> DevScore | None:
    """Asks dev examples of another task, under its own prompt; by its labels each scores half for
    the right one and half the probability of it. None where `tokens` do not reach for 16 examples,
    or where the task cannot be scored by its texts."""
    backend = policy.model.backend
    model = policy.model.adapt(prompt=task.base_prompt(), decoding=task.base_decoding(backend))
    examples = dev_examples(task, MOST_SCORED)
    scorer = None if task.labels else _of_text(task)
    if not examples or not (task.labels or scorer):
        return None
    examples = examples[: affordable(model, policy.session, examples, tokens=tokens)]
    if len(examples) < FEWEST_SCORED:
        return None
    if scorer is None:
        return lambda asked, answers: _label_scores(policy.session, model, examples)
    return lambda asked, answers: _text_scores(policy.session, model, examples, scorer=scorer)


def affordable(model: Model, session: Session, examples: Sequence[Example], *, tokens: int) -> int:
    """How many examples the tokens reach for; what all prompts begin with is computed once."""
    rows = rows_for(model, session, examples[:FEWEST_SCORED])
    alike = takewhile(lambda ids: len(set(ids)) == 1, zip(*(r.prompt for r in rows), strict=False))
    shared = 0 if session.encoder_decoder else sum(1 for _ in alike)
    answer = label_tokens(model) or 0
    each = sum(row.tokens for row in rows) / len(rows) - shared + answer
    return max(0, int((tokens - shared) / max(1.0, each)))


def _of_text(task: Task) -> Scorer | None:
    if isinstance(task.scorer, str) and judge_source(task.scorer) is not None:
        return None
    scorer = scorer_for(task)
    return None if scorer.needs_likelihood or scorer.score_sample is not None else scorer


def _score(scorer: Scorer, example: Example, answer: str) -> float:
    score = scorer.of(answer, example.target, question=example.text)
    return score if scorer.higher_is_better else -score


@torch.inference_mode()
def _label_scores(session: Session, model: Model, examples: Sequence[Example]) -> DevScores:
    requests, right = label_requests(model, examples)
    found = score_continuations(session, requests)
    logs = torch.log_softmax(torch.tensor([r.logprobs for r in found]), -1)
    probability = logs.gather(1, right.unsqueeze(1)).squeeze(1).exp()
    scores = ((logs.argmax(-1) == right).float() + probability) / 2
    return DevScores(tuple(scores.tolist()), sum(r.usage.computed_tokens for r in found))


@torch.inference_mode()
def _text_scores(
    session: Session, model: Model, examples: Sequence[Example], *, scorer: Scorer
) -> DevScores:
    requests = [GenerateRequest(prompt) for prompt in render_for(model, examples)]
    found = generate(session, requests, model.adaptation)
    answers = [read_response(model, generated).parsed or "" for generated in found]
    scores = tuple(_score(scorer, e, a) for e, a in zip(examples, answers, strict=True))
    return DevScores(scores, sum(g.usage.computed_tokens for g in found))
