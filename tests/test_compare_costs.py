"""Cost formulas, the price book, break-even."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.compare.costs import (
    Cost,
    Outlay,
    Price,
    ResourceMonitor,
    break_even,
    flops_of,
    measured_cost,
    outlay,
    priced,
    read_prices,
    request_time,
    shared_tokens,
)
from luthier.content import Usage
from luthier.errors import TaskError
from luthier.models.backend import ModelFacts
from luthier.models.load import load
from luthier.models.prompt import Demonstration, Prompt
from luthier.records import EvalResult, Example, FitRecord, SampleScore, Score
from luthier.task.task import Task

COST = Cost(
    fit_seconds=360.0,
    fit_tokens=1_000_000,
    prompt_tokens=100.0,
    shared_prompt_tokens=80.0,
    generated_tokens=10.0,
    latency_p50_ms=20.0,
)


def test_flops_follow_the_formula() -> None:
    facts = ModelFacts(parameters=120, body_parameters=100)
    # A training token counts 3 forward tokens with trainable weights: 6N; 2 with a frozen base: 4N.
    assert flops_of(3, facts) == 6 * 100
    assert flops_of(2, facts) == 4 * 100
    assert flops_of(1, ModelFacts(parameters=120)) == 2 * 120
    assert flops_of(None, facts) is None
    assert flops_of(1, ModelFacts()) is None


def test_measured_cost_divides_by_requests() -> None:
    sample_scores = tuple(SampleScore(str(i), "", "", "", None, True, 1.0) for i in range(4))
    result = EvalResult(
        Score("m", 1.0), Score("p", 1.0), (), sample_scores, Usage(400, 40, 200, 4), 2.0, 5.0, 9.0
    )
    fit = FitRecord(fit_seconds=3.0, spent_tokens=50, trainable_parameters=7)
    facts = ModelFacts(parameters=10)
    cost = measured_cost(fit, result, facts=facts, artifact_bytes=11, shared_prompt_tokens=500.0)
    assert (cost.prompt_tokens, cost.generated_tokens, cost.tokens_per_request) == (100, 10, 110)
    assert cost.shared_prompt_tokens == 100  # never more than the prompt
    assert cost.request_flops == 2 * 10 * 110
    assert cost.fit_flops == 2 * 10 * 50
    assert (cost.latency_p50_ms, cost.latency_p95_ms, cost.artifact_bytes) == (5.0, 9.0, 11)
    assert cost.per_1k_requests is None


def test_what_was_not_measured_is_not_priced() -> None:
    empty = priced(Cost(), Price(input=1.0, machine_hour=1.0))
    assert empty == Cost()
    assert priced(COST, Price()).per_1k_requests is None
    assert Cost().tokens_per_request is None


def test_money_by_token() -> None:
    price = Price(input=2e-6, cached_input=5e-7, output=8e-6)
    cost = priced(COST, price)
    assert cost.fit_money == pytest.approx(2.0)
    assert cost.per_1k_requests == pytest.approx(1000 * (100 * 2e-6 + 10 * 8e-6))
    assert cost.per_1k_requests_cached == pytest.approx(1000 * (20 * 2e-6 + 80 * 5e-7 + 10 * 8e-6))


def test_money_by_machine_hour() -> None:
    cost = priced(COST, Price(machine_hour=3.6))
    assert cost.fit_money == pytest.approx(0.36)
    assert cost.per_1k_requests == pytest.approx(0.02)  # 1,000 requests of 20 ms are 20 s
    assert cost.per_1k_requests_cached == pytest.approx(0.02 * 30 / 110)


def test_outlay_is_money_where_tokens_are_billed_and_compute_elsewhere() -> None:
    assert outlay(COST, Price(machine_hour=1.0)) == Outlay(1_000_000, 110)
    assert outlay(COST, Price(machine_hour=1.0), cached=True) == Outlay(1_000_000, 30)
    billed = outlay(COST, Price(input=1e-6))
    assert billed is not None
    assert billed.once == pytest.approx(1.0)
    assert billed.per_request == pytest.approx(110e-6)
    assert outlay(Cost(), Price(machine_hour=1.0)) is None


@pytest.mark.parametrize(
    ("candidate", "reference", "requests"),
    [
        (Outlay(1000, 10), Outlay(0, 20), 100),
        (Outlay(1001, 10), Outlay(0, 20), 101),
        (Outlay(1000, 10), Outlay(500, 20), 50),
        (Outlay(1000, 20), Outlay(0, 20), None),  # saves nothing
        (Outlay(1000, 30), Outlay(0, 20), None),  # costs more for ever
        (Outlay(1000, 0.3), Outlay(0, 0.1 + 0.2), None),  # rounding is no saving
        (Outlay(0, 20), Outlay(0, 20), 0),
        (Outlay(0, 10), Outlay(50, 20), 0),  # ahead from the start
    ],
)
def test_break_even(candidate: Outlay, reference: Outlay, requests: int | None) -> None:
    assert break_even(candidate, reference) == requests


@given(*[st.integers(0, 10**6)] * 4)
def test_break_even_is_the_first_request_at_which_it_is_not_dearer(
    once: int, each: int, other_once: int, other_each: int
) -> None:
    candidate, reference = Outlay(once, each), Outlay(other_once, other_each)
    found = break_even(candidate, reference)
    if found is None:
        assert each >= other_each
        return
    assert candidate.for_requests(found) <= reference.for_requests(found)
    if found > 0:
        assert candidate.for_requests(found - 1) > reference.for_requests(found - 1)


def test_shared_tokens_are_those_before_the_first_difference() -> None:
    prompt = Prompt(instruction="one two three", demonstrations=(Demonstration("four", "five"),))
    model = load("fake").adapt(prompt=prompt)
    examples = [Example(str(i), text, "") for i, text in enumerate(("xx yy", "zz"))]
    # "one two three", "Input: four", "Label: five", "Input:" are 8 words for the fake model.
    assert shared_tokens(model, examples) == 8
    assert shared_tokens(model, examples[:1]) is None


def test_sampling_sees_time_and_memory() -> None:
    with ResourceMonitor() as monitor:
        block = bytearray(64_000_000)
        time.sleep(0.15)
    assert len(block) == 64_000_000
    assert 0.1 < monitor.seconds < 5
    assert monitor.peak_memory_bytes is not None
    with ResourceMonitor() as after:
        del block
    assert after.peak_memory_bytes is not None
    assert monitor.peak_memory_bytes >= 64_000_000


def test_the_book_that_ships_reads() -> None:
    book = read_prices()
    assert book.requests == 10_000
    assert book.of("nano", remote=False) == Price(machine_hour=book.machine_hour)
    assert not book.of("http://host/v1#m", remote=True).by_token
    assert book.of("http://host/v1#m", remote=True) == Price()


def test_a_book_names_models_and_patterns(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(
        "currency: EUR\nmachine_hour: 2\nrequests: 50\nmodels:\n"
        "  'http*': {per_1m_input: 1.0, per_1k_output: 0.004}\n"
        "  'http://host/v1#big': {per_1m_input: 9, per_1m_cached_input: 0.9}\n"
        "  big-folder: {machine_hour: 5}\n",
        "utf-8",
    )
    book = read_prices(path)
    assert (book.currency, book.requests) == ("EUR", 50)
    assert book.of("http://other", remote=True).input == pytest.approx(1e-6)
    assert book.of("http://other", remote=True).output == pytest.approx(4e-6)
    assert book.of("http://host/v1#big", remote=True).cached_input == pytest.approx(0.9e-6)
    assert book.of("big-folder", remote=False).machine_hour == 5
    assert book.of("nano", remote=False).machine_hour == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("machine_our: 1", "machine_our"),
        ("machine_hour: -1", "machine_hour: -1"),
        ("machine_hour: true", "machine_hour: True"),
        ("machine_hour: .nan", "machine_hour: nan"),
        ("models: {a: {per_1m_output: 1}}", "not its input"),
        ("models: {a: {per_1m_input: 1, per_1k_input: 1}}", "twice"),
        ("models: {a: 3}", "models: a"),
        ("- 1", "not names with values"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_faulty_price_book_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(TaskError) as told:
        read_prices(path)
    assert said in told.value.problem
    assert told.value.next_step or told.value.choices
    with pytest.raises(TaskError, match="cannot be read"):
        read_prices(tmp_path / "missing.yaml")


def timed(tokens: float, ms: float, **more: float) -> Cost:
    return Cost(prompt_tokens=tokens, latency_mean_ms=ms, timed_requests=20, **more)  # type: ignore[arg-type]


def test_two_techniques_with_the_same_prompt_cost_the_same() -> None:
    """However busy the machine was while one of them was timed."""
    costs = [timed(50, 12.0), timed(50, 18.0), timed(500, 61.0), timed(500, 58.0)]
    time = request_time(costs)
    assert time is not None
    assert time.seconds(50) == pytest.approx(0.015, rel=0.02)
    assert time.seconds(500) == pytest.approx(0.0595, rel=0.02)
    assert (time.runs, time.requests) == (4, 80)
    one, other = (priced(cost, Price(machine_hour=3.6), time) for cost in costs[:2])
    assert one.per_1k_requests == other.per_1k_requests == pytest.approx(0.015, rel=0.02)
    assert one.per_1k_low is not None
    assert one.per_1k_high is not None
    assert one.per_1k_low < 0.015 < one.per_1k_high
    assert one.timed_requests == 80
    dear = priced(costs[2], Price(machine_hour=3.6), time)
    assert (dear.per_1k_requests or 0) > 3 * (one.per_1k_requests or 0)


def test_times_that_fall_with_tokens_are_taken_as_proportional() -> None:
    time = request_time([timed(50, 20.0), timed(100, 10.0), timed(150, 12.0)])
    assert time is not None
    assert time.fixed == 0.0
    assert time.per_token > 0
    assert request_time([timed(50, 20.0), timed(100, 30.0)]) is None, "no spread to speak of"
    assert request_time([Cost(), Cost(), Cost()]) is None


def test_labels_that_are_ranked_count_in_a_request() -> None:
    from luthier.scoring import evaluate

    task = Task.load("routing")
    model = load("nano").adapt(prompt=task.base_prompt(), decoding=task.base_decoding())
    result = evaluate(model, task, limit=8, latency=True)
    cost = measured_cost(FitRecord(), result, facts=model.backend.facts)
    (alone,) = model.answer([task.test[0]])
    beyond = alone.usage.computed_tokens - alone.usage.prompt_tokens
    assert beyond > len(task.labels)
    assert cost.label_tokens == pytest.approx(beyond, abs=1)
    assert cost.tokens_per_request == pytest.approx((cost.prompt_tokens or 0) + beyond, abs=1)


def test_what_a_fit_generates_is_priced_as_output() -> None:
    fit = replace(COST, fit_generated_tokens=200_000)
    price = Price(input=2e-6, output=8e-6)
    assert priced(fit, price).fit_money == pytest.approx(0.8 * 2 + 0.2 * 8)
    assert priced(COST, price).fit_money == pytest.approx(2.0)
    assert priced(fit, Price(input=2e-6)).fit_money == pytest.approx(2.0)
