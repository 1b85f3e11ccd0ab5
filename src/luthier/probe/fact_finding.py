"""The short measurements behind an advice, on dev: what a base reaches under a prompt, and what
plain words do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from luthier.context import report_progress
from luthier.errors import LuthierError
from luthier.models.model import Model
from luthier.models.prompt import Demonstration
from luthier.probe.advice_facts import AdviceFacts
from luthier.probe.found_passages import find_passages
from luthier.probe.probe_request import ProbeRequest
from luthier.probe.task_sample import drawn, label_logprobs
from luthier.records import Capability, Example
from luthier.scoring.evaluation import score_samples
from luthier.scoring.resolve import scorer_for
from luthier.scoring.scorer import Scorer
from luthier.task.task import Task
from luthier.training.starting_prompt import starting_model
from luthier.training.word_features import fit_words

SHOTS = 8
LONG_SHOTS = 600  # tokens that demonstrations may take in all
WITH_PASSAGES = 30  # dev questions that are answered with passages


def measure_facts(model: Model, request: ProbeRequest) -> AdviceFacts:
    """Measure them: the base answers at most `limits.examples` dev examples twice, and a few with
    passages. The test split is not looked at."""
    task = request.task
    assert task is not None
    task = task.without_test()
    scorer, backend = scorer_for(task), model.backend
    examples = drawn(task.dev, request.limits.examples, request.seed)
    asked = starting_model(model, task).adapt(knowledge=None, tools=None)
    tokens = _example_tokens(model, task)
    shots = _shots(model, task, tokens)
    facts = AdviceFacts(
        metric=scorer.metric,
        train_examples=len(task.train),
        dev_examples=len(examples),
        labels=len(task.labels),
        documents=bool(task.knowledge),
        tools=bool(task.tools),
        free_text=not task.labels,
        encoder_decoder=backend.facts.encoder_decoder,
        can_train=Capability.GRADIENTS in model.capabilities,
        can_embed=Capability.EMBEDDINGS in model.capabilities,
        context_tokens=backend.facts.context_length,
        example_tokens=tokens,
        shots=shots,
    )
    if not examples:
        return facts
    report_progress(0, 4, "advice: without examples")
    facts = replace(facts, zero_shot=_score(asked, examples, scorer, request.seed))
    report_progress(1, 4, "advice: with the nearest examples")
    if shots:
        pool = tuple(_demonstration(e) for e in task.train)
        prompt = replace(asked.adaptation.prompt, demonstrations=pool, selection="knn", shots=shots)
        shown = asked.adapt(prompt=prompt)
        facts = replace(facts, few_shot=_calibrated(shown, examples, scorer, request.seed))
    report_progress(2, 4, "advice: without a language model")
    if task.labels and task.train:
        facts = replace(
            facts, plain=_plain(task, examples), chance=_commonest(task.train, examples)
        )
    report_progress(3, 4, "advice: with documents")
    if task.knowledge:
        facts = replace(facts, open_book=_open_book(asked, request, examples, scorer))
    return facts


def _example_tokens(model: Model, task: Task) -> float:
    some = task.train[:50] or task.dev[:50]
    texts = [f"{e.context or ''} {e.text} {e.target}" for e in some]
    return sum(model.backend.count_tokens(text) for text in texts) / max(1, len(texts))


def _shots(model: Model, task: Task, tokens: float) -> int:
    """How many demonstrations are shown: eight, as far as they and the context allow."""
    context = model.backend.facts.context_length
    room = LONG_SHOTS if context is None else min(LONG_SHOTS, context // 2)
    return min(SHOTS, len(task.train), int(room / max(1.0, tokens)))


def _demonstration(example: Example) -> Demonstration:
    return Demonstration(example.text, example.target, example.context)


def _score(model: Model, examples: Sequence[Example], scorer: Scorer, seed: int) -> float:
    samples, _ = score_samples(model, examples, scorer=scorer, seed=seed)
    return sum(sample.value for sample in samples) / len(samples)


def _calibrated(model: Model, examples: Sequence[Example], scorer: Scorer, seed: int) -> float:
    """The score, or, where labels are scored, the better of that and of label scores less their
    mean over the examples (batch calibration, arXiv:2309.17249, section 3)."""
    labels = model.adaptation.decoding.labels
    responses = model.answer(examples, seed=seed) if labels else []
    scores = label_logprobs(responses, labels)
    if scores is None:
        return _score(model, examples, scorer, seed)
    tops = scores.max(1, keepdims=True)
    values = scores - tops - np.log(np.exp(scores - tops).sum(1, keepdims=True))
    found = []
    for adjusted in (values, values - values.mean(0)):
        said = [labels[i] for i in adjusted.argmax(1)]
        found.append(
            sum(
                scorer.of(s, e.target, question=e.text) for s, e in zip(said, examples, strict=True)
            )
            / len(said)
        )
    return max(found)


def _plain(task: Task, examples: Sequence[Example]) -> float:
    said = fit_words(task.train, task.dev).predict(examples)
    return sum(s == e.target for s, e in zip(said, examples, strict=True)) / len(examples)


def _commonest(train: Sequence[Example], examples: Sequence[Example]) -> float:
    targets = [example.target for example in train]
    most = max(dict.fromkeys(targets), key=targets.count)
    return sum(example.target == most for example in examples) / len(examples)


def _open_book(
    model: Model, request: ProbeRequest, examples: Sequence[Example], scorer: Scorer
) -> float | None:
    """The score with passages, over questions for which some were found."""
    asked = examples[:WITH_PASSAGES]
    try:
        passages = find_passages(model, request, asked)
    except LuthierError:
        return None
    shown = [replace(e, context=t) for e, t in zip(asked, passages.answering, strict=False) if t]
    return _score(model, shown, scorer, request.seed) if shown else None
