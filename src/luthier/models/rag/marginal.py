"""Answers from several passages that are read one at a time: RAG-Sequence and RAG-Token.

    sequence  p(y | x) = Σ_z p(z | x) Π_i p(y_i | x, z, y_<i)
    token     p(y | x) = Π_i Σ_z p(z | x) p(y_i | x, z, y_<i)

Lewis et al. 2020, arXiv:2005.11401, section 2.1, for a question x, a passage z and an answer y.
Free text under "sequence" is decoded as in section 2.5 ("thorough"): the greedy answer from every
passage is a hypothesis, and each is scored under all passages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from luthier.content import Response, Usage
from luthier.errors import CapabilityError
from luthier.models.answering import label_continuations, label_requests, render_shown
from luthier.models.backend import Generated, GenerateRequest, ScoreRequest, ScoreResult
from luthier.models.parsing import from_scores, read_response
from luthier.models.prompt import Rendered
from luthier.models.rag.lookup import passage_probabilities
from luthier.models.rag.passages import with_citation_request, with_each_passage
from luthier.records import Capability, Example

if TYPE_CHECKING:
    from luthier.models.model import Model


def answer_marginally(
    model: Model, examples: Sequence[Example], *, seed: int = 0
) -> list[Response]:
    """One answer for each example, the probabilities summed over passages.

    CapabilityError where the backend gives no log-probabilities, or, for "token", cannot mix the
    passages at every token.
    """
    knowledge = model.adaptation.knowledge
    assert knowledge is not None
    if Capability.LOGPROBS not in model.capabilities:
        raise CapabilityError(
            f"reading {knowledge.reading!r} needs log-probabilities, which {model.backend.name} "
            "does not give",
            next_step="Use reading='joined'.",
        )
    if knowledge.reading == "token" and Capability.MIXTURES not in model.capabilities:
        raise CapabilityError(
            f"reading 'token' mixes the passages at every token, which {model.backend.name} "
            "cannot do",
            next_step="Use reading='sequence' or 'joined', or a local decoder-only model.",
        )
    prompt = with_citation_request(model.adaptation.prompt, knowledge)
    groups = []
    for copies, hits in with_each_passage(model, examples):
        prompts = render_shown(model, prompt, copies)
        groups.append((prompts, passage_probabilities(knowledge, hits) or (1.0,)))
    if model.adaptation.decoding.labels:
        return _labels(model, groups)
    if knowledge.reading == "token":
        return _by_token(model, groups)
    return _by_sequence(model, groups, seed=seed)


Group = tuple[list[Rendered], tuple[float, ...]]


def summed(logprobs: Sequence[Sequence[float]], weights: Sequence[float]) -> tuple[float, ...]:
    """log Σ_z w_z exp(l_zy) for each y; `logprobs` (Z, Y)."""
    values = np.array(logprobs, dtype=np.float64)
    values = values + np.log(np.maximum(np.array(weights, dtype=np.float64), 1e-300))[:, None]
    top = values.max(axis=0)
    return tuple(float(v) for v in top + np.log(np.exp(values - top).sum(axis=0)))


def _labels(model: Model, groups: Sequence[Group]) -> list[Response]:
    knowledge, decoding = model.adaptation.knowledge, model.adaptation.decoding
    assert knowledge is not None
    if knowledge.reading == "token":
        continuations = label_continuations(model, groups[0][0][0])
        return [
            from_scores(
                model.backend.score_mixture(prompts, weights, continuations, model.adaptation),
                decoding,
            )
            for prompts, weights in groups
        ]
    requests = label_requests(model, [p for prompts, _ in groups for p in prompts])
    scored = iter(model.backend.score(requests, model.adaptation))
    answers = []
    for prompts, weights in groups:
        by_passage = [next(scored) for _ in prompts]
        answers.append(from_scores(_mixed(by_passage, weights), decoding))
    return answers


def _mixed(by_passage: Sequence[ScoreResult], weights: Sequence[float]) -> ScoreResult:
    best = by_passage[int(np.argmax(weights))]
    return ScoreResult(
        logprobs=summed([r.logprobs for r in by_passage], weights),
        tokens=best.tokens,
        greedy=best.greedy,
        usage=sum((r.usage for r in by_passage), Usage()),
    )


def _by_sequence(model: Model, groups: Sequence[Group], *, seed: int) -> list[Response]:
    adaptation = model.adaptation
    requests = [GenerateRequest(p, seed=seed) for prompts, _ in groups for p in prompts]
    generated = iter(model.backend.generate(requests, adaptation))
    hypotheses, usages = [], []
    for prompts, _ in groups:
        results = [next(generated) for _ in prompts]
        hypotheses.append(list(dict.fromkeys(r.text.strip() for r in results if r.text.strip())))
        usages.append(sum((r.usage for r in results), Usage()))
    # A hypothesis ends where a generation would: at the first stop string, else anywhere.
    end = adaptation.decoding.stop[0] if adaptation.decoding.stop else ""
    score_requests = [
        ScoreRequest(p, tuple(p.answer_prefix + text + end for text in texts))
        for (prompts, _), texts in zip(groups, hypotheses, strict=True)
        if len(texts) > 1
        for p in prompts
    ]
    scored = iter(model.backend.score(score_requests, adaptation) if score_requests else ())
    answers = []
    for (prompts, weights), texts, usage in zip(groups, hypotheses, usages, strict=True):
        text = texts[0] if texts else ""
        if len(texts) > 1:
            by_passage = [next(scored) for _ in prompts]
            usage = sum((r.usage for r in by_passage), usage)
            text = texts[int(np.argmax(summed([r.logprobs for r in by_passage], weights)))]
        answers.append(read_response(model, Generated(text, usage)))
    return answers


def _by_token(model: Model, groups: Sequence[Group]) -> list[Response]:
    return [
        read_response(model, model.backend.generate_mixture(prompts, weights, model.adaptation))
        for prompts, weights in groups
    ]
