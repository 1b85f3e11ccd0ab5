"""The evaluator end to end on models without weights, latency, and loss off the task."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from luthier.content import Usage
from luthier.context import WorkContext, working
from luthier.errors import CapabilityError, LockedSplitError, TaskError
from luthier.models.adaptation import Adaptation
from luthier.models.backend import ScoreRequest, ScoreResult
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Capability, Kind
from luthier.scoring import evaluate, forgetting, measure_latency, off_task_loss
from luthier.scoring.off_task import off_task_paragraphs
from luthier.scoring.statistics.intervals import wilson
from luthier.task.task import Task

WORDS = ("refund", "invoice", "charge", "parcel", "courier", "delivery")


@dataclass(eq=False)
class Speller(FakeBackend):
    """Log-probabilities by length: `nats` for each character; a token is a character."""

    nats: float = 0.5

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        assert adaptation.prompt == Prompt() or requests[0].prompt.text
        return [
            ScoreResult(
                logprobs=tuple(-self.nats * len(c) for c in r.continuations),
                tokens=tuple(len(c) for c in r.continuations),
                greedy=tuple(False for _ in r.continuations),
                usage=Usage(len(r.prompt.text), 0, len(r.prompt.text), 1),
            )
            for r in requests
        ]


TEXT_ONLY = frozenset({Capability.TEXT})


def task(**more) -> Task:  # type: ignore[no-untyped-def]
    rows = []
    for i in range(60):
        word = WORDS[i % 6]
        queue = "billing" if i % 6 < 3 else "shipping"
        target = f'{{"queue": "{queue}"}}' if "schema" in more else queue
        rows.append({"text": f"customer {i} asks for {word} number {i * 7}", "queue": target})
    settings = {"kind": "classify", "name": "queues", "instruction": "Name the queue."} | more
    return Task.from_examples(rows, input="text", target="queue", **settings)


def model_of(backend: FakeBackend, asked: Task) -> Model:
    return Model(backend, Adaptation(prompt=asked.base_prompt(), decoding=asked.base_decoding()))


def answer_by_word(prompt: str) -> str:
    query = prompt.rsplit("\n\n", 1)[-1]
    if "courier" in query:
        return "no idea"
    return "billing" if any(w in query for w in WORDS[:3]) else "shipping"


def test_accuracy_and_parse_rate_are_two_numbers() -> None:
    asked = task()
    model = model_of(FakeBackend(reply=answer_by_word, capabilities=TEXT_ONLY), asked)
    result = evaluate(model, asked)
    unreadable = sum("courier" in e.input for e in asked.test)
    n = len(asked.test)
    assert 0 < unreadable < n
    right = n - unreadable
    assert result.score.metric == "accuracy"
    assert result.score.value == pytest.approx(right / n)
    assert (result.score.low, result.score.high) == pytest.approx(wilson(right, n))
    assert result.parse_rate.metric == "parse-rate"
    assert result.parse_rate.value == pytest.approx(right / n)
    assert [s.metric for s in result.secondary] == ["macro-f1"]
    assert [j.example_id for j in result.sample_scores] == [e.id for e in asked.test]
    assert {j.prediction for j in result.sample_scores if "courier" in j.input} == {None}
    assert result.usage.calls == n
    assert result.eval_seconds > 0
    assert result.latency_p50_ms is None


def test_labels_scored_by_likelihood_are_always_read() -> None:
    asked = task()
    result = evaluate(model_of(FakeBackend(), asked), asked, split="dev")
    assert all(j.prediction in asked.labels for j in result.sample_scores)
    assert result.parse_rate.value is not None
    assert result.parse_rate.value == sum(j.parseable for j in result.sample_scores) / len(
        result.sample_scores
    )


def test_generation_gets_its_secondary_scores() -> None:
    asked = task(kind="generate", scorer="rouge-l")
    result = evaluate(model_of(FakeBackend(reply=answer_by_word), asked), asked, limit=8)
    assert asked.kind is Kind.GENERATE
    assert [s.metric for s in (result.score, *result.secondary)] == ["rouge-l", "chrf", "bleu"]
    assert all(s.low <= s.value <= s.high for s in (result.score, *result.secondary))


def test_json_answers_count_as_read_when_they_are_json() -> None:
    schema = {"type": "object", "required": ["queue"]}
    asked = task(kind="extract", scorer="json-schema", schema=schema)

    def reply(prompt: str) -> str:
        query = prompt.rsplit("\n\n", 1)[-1]
        if "courier" in query:
            return "none"
        misread = "refund" in query or "parcel" in query
        return '{"q": 1}' if misread else '{"queue": "billing"}'

    result = evaluate(model_of(FakeBackend(reply=reply), asked), asked)
    n = len(asked.test)
    couriers = sum("courier" in e.input for e in asked.test)
    misread = sum("refund" in e.input or "parcel" in e.input for e in asked.test)
    assert result.parse_rate.value == pytest.approx((n - couriers) / n)
    assert result.score.value == pytest.approx((n - couriers - misread) / n)
    assert misread > 0
    fields, exact = result.secondary
    assert (fields.metric, exact.metric) == ("json-fields", "exact-match")
    billing = sum("billing" in e.target and "refund" not in e.input for e in asked.test)
    assert fields.value == exact.value == pytest.approx(billing / n)


def test_a_limit_draws_the_same_examples_for_every_seed() -> None:
    asked = task()
    model = model_of(FakeBackend(), asked)
    drawn = [
        [j.example_id for j in evaluate(model, asked, limit=5, seed=s).sample_scores]
        for s in (0, 9)
    ]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 5
    assert set(drawn[0]) <= {e.id for e in asked.test}
    with pytest.raises(TaskError, match="limit is 0"):
        evaluate(model, asked, limit=0)


def test_the_test_split_stays_locked() -> None:
    asked = task()
    with pytest.raises(LockedSplitError):
        evaluate(model_of(FakeBackend(), asked), asked.without_test())
    with pytest.raises(TaskError, match="split"):
        evaluate(model_of(FakeBackend(), asked), asked, split="tset")


def test_perplexity_is_exp_of_the_mean_nats_per_token() -> None:
    asked = task(kind="generate", scorer="perplexity")
    result = evaluate(model_of(Speller(nats=0.7), asked), asked)
    assert result.score.metric == "perplexity"
    assert result.score.value == pytest.approx(math.exp(0.7))
    assert not result.score.higher_is_better
    assert result.parse_rate.value is None
    assert result.secondary == ()
    assert all(j.value == pytest.approx(0.7) for j in result.sample_scores)
    assert {int(j.weight) for j in result.sample_scores} == {len(" billing"), len(" shipping")}


def test_perplexity_needs_log_probabilities() -> None:
    asked = task(kind="generate", scorer="perplexity")
    with pytest.raises(CapabilityError, match="needs log-probabilities, which fake"):
        evaluate(model_of(FakeBackend(capabilities=TEXT_ONLY), asked), asked)


def test_another_scorer_may_stand_in() -> None:
    asked = task()
    result = evaluate(model_of(FakeBackend(), asked), asked, scorer=lambda said, wanted: len(said))
    assert result.score.value is not None
    assert 7.0 <= result.score.value <= 8.0
    assert [s.metric for s in result.secondary] == ["accuracy", "macro-f1"]


def test_progress_is_told() -> None:
    heard: list[tuple[float, float]] = []
    asked = task()
    with working(WorkContext(progress=lambda done, total, message: heard.append((done, total)))):
        evaluate(model_of(FakeBackend(), asked), asked)
    n = float(len(asked.test))
    assert heard[0] == (0, n)
    assert heard[-1] == (n, n)


def test_latency_leaves_the_warm_up_out() -> None:
    calls = 0

    def slow_at_first(prompt: str) -> str:
        nonlocal calls
        calls += 1
        time.sleep(0.2 if calls <= 2 else 0.005)
        return "billing"

    asked = task()
    model = model_of(FakeBackend(reply=slow_at_first, capabilities=TEXT_ONLY), asked)
    found = measure_latency(model, asked.test[:3], n=7)
    assert calls == 9
    assert found.requests == 7
    assert found.p50_ms is not None
    assert found.p95_ms is not None
    assert 5.0 <= found.p50_ms <= found.p95_ms
    assert found.p50_ms < 100.0
    assert measure_latency(model, (), n=7).p50_ms is None
    result = evaluate(model, asked, latency=True, limit=4)
    assert result.latency_p50_ms is not None


def test_off_task_loss_in_nats_and_bits() -> None:
    asked = task()
    model = model_of(Speller(nats=0.5), asked)  # the task's prompt must be left out
    loss = off_task_loss(model)
    assert loss is not None
    assert loss.nats_per_token == pytest.approx(0.5)
    # All of the text is ASCII: a character is a byte.
    assert loss.bits_per_byte == pytest.approx(0.5 / math.log(2))
    assert loss.tokens == loss.bytes == sum(loss.paragraph_tokens)
    assert off_task_loss(Model(FakeBackend(capabilities=TEXT_ONLY))) is None


def test_forgetting_is_the_loss_after_minus_before() -> None:
    before = off_task_loss(Model(Speller(nats=0.5)))
    after = off_task_loss(Model(Speller(nats=0.8)))
    assert before is not None
    assert after is not None
    change = forgetting(before, after)
    assert change.value == pytest.approx(0.3)
    assert not change.higher_is_better
    same = forgetting(before, before)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    uneven = off_task_loss(Model(Uneven()))
    assert uneven is not None
    moved = forgetting(before, uneven)
    assert moved.low is not None
    assert moved.high is not None
    assert moved.low < moved.value < moved.high


@dataclass(eq=False)
class Uneven(Speller):
    """A little worse on some paragraphs than on others."""

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        return [
            ScoreResult((-0.5 * len(c) - place,), (len(c),), (False,), Usage())
            for place, c in enumerate(r.continuations[0] for r in requests)
        ]


def test_off_task_text_is_twenty_paragraphs() -> None:
    paragraphs = off_task_paragraphs()
    assert len(paragraphs) == len(set(paragraphs)) == 20
    assert all(60 <= len(p.split()) <= 100 and p.isascii() for p in paragraphs)


def test_importing_scoring_loads_no_heavy_library() -> None:
    code = (
        "import sys, luthier.scoring as s; s.evaluate, s.compare_with_best, s.resolve_scorer; "
        "from luthier.scoring import forgetting, evaluate; assert callable(evaluate); "
        "print([m for m in ('torch', 'scipy', 'statsmodels', 'sklearn', 'sacrebleu', 'nltk') "
        "if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
