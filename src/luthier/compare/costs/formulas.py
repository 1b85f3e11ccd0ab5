"""What a technique costs: measured where possible, else by formula; priced by the price book.

FLOPs: a forward pass takes 2N a token (N: parameters without the embeddings), training 6N with
trainable weights and 4N with a frozen base (arXiv:2001.08361, section 2.1). A fit's budget counts
forward-token equivalents (1, 3 and 2), so its FLOPs are 2N × equivalents.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from luthier.compare.costs.cost import Cost
from luthier.compare.costs.prices import Price, PriceBook
from luthier.compare.costs.request_time import RequestTime
from luthier.models.backend import ModelFacts
from luthier.records import EvalResult, Example, FitRecord

if TYPE_CHECKING:
    from luthier.models.model import Model

SAMPLED_PROMPTS = 32
NO_DIFFERENCE = 1e-9  # what two sums of the same tokens may differ by


def measured_cost(
    fit: FitRecord, result: EvalResult, *, facts: ModelFacts, artifact_bytes: int | None = None,
    shared_prompt_tokens: float | None = None, latency_ms: tuple[float, float] | None = None,
) -> Cost:  # fmt: skip
    """All of the cost but money. `latency_ms` is (p50, p95); without it, the latency that the
    evaluation measured is taken."""
    requests = len(result.sample_scores)
    prompt = generated = flops = None
    labels = result.label_tokens
    if requests and not result.usage.uncounted_calls:
        prompt = result.usage.prompt_tokens / requests
        generated = result.usage.generated_tokens / requests
        flops = flops_of(prompt + (labels or 0.0) + generated, facts)
    p50, p95 = latency_ms or (result.latency_p50_ms, result.latency_p95_ms)
    return Cost(
        fit_seconds=fit.fit_seconds,
        fit_tokens=fit.spent_tokens,
        fit_generated_tokens=fit.generated_tokens,
        fit_flops=flops_of(fit.spent_tokens, facts),
        peak_memory_bytes=fit.peak_memory_bytes,
        trainable_parameters=fit.trainable_parameters,
        artifact_bytes=artifact_bytes,
        prompt_tokens=prompt,
        shared_prompt_tokens=_at_most(shared_prompt_tokens, prompt),
        generated_tokens=generated,
        label_tokens=labels,
        request_flops=flops,
        latency_p50_ms=p50,
        latency_p95_ms=p95,
        latency_mean_ms=result.latency_mean_ms,
        timed_requests=result.timed_requests or None,
    )


def flops_of(forward_tokens: float | None, facts: ModelFacts) -> float | None:
    """2N FLOPs a forward token; None where the size of the base is unknown."""
    size = facts.body_parameters if facts.body_parameters is not None else facts.parameters
    return None if forward_tokens is None or not size else 2.0 * size * forward_tokens


def priced(cost: Cost, price: Price, time: RequestTime | None = None) -> Cost:
    """The same cost with its money filled in. `time` is what a request takes on this machine by
    its tokens; without it the measured latency is taken."""
    money = _request_money(cost, price, time, cached=False)
    low = high = None
    if money is not None and time is not None and not price.by_token:
        low, high = money * (1 - time.margin), money * (1 + time.margin)
    return replace(
        cost,
        fit_money=_fit_money(cost, price),
        per_1k_requests=money,
        per_1k_requests_cached=_request_money(cost, price, time, cached=True),
        per_1k_low=low,
        per_1k_high=high,
        timed_requests=cost.timed_requests if time is None else time.requests,
    )


def _fit_money(cost: Cost, price: Price) -> float | None:
    helpers = cost.helper_money
    if cost.helper_tokens and helpers is None:
        return None  # what the teacher costs is not known
    if price.input is not None:
        if cost.fit_tokens is None:
            return None
        written = cost.fit_generated_tokens or 0.0
        output = price.input if price.output is None else price.output
        read = cost.fit_tokens - (cost.helper_tokens or 0.0) - written
        return read * price.input + written * output + (helpers or 0.0)
    if price.machine_hour is None or cost.fit_seconds is None:
        return None
    return cost.fit_seconds / 3600.0 * price.machine_hour + (helpers or 0.0)


def with_helpers(cost: Cost, fit: FitRecord, prices: PriceBook) -> Cost:
    """The same cost with what the fit's helpers took, at their own prices.

    One on this machine costs nothing beside the fit, which its time is part of.
    """
    if not fit.helpers:
        return cost
    money: float | None = 0.0
    for helper in fit.helpers:
        price = prices.of(helper.model, remote=helper.remote)
        if not helper.remote:
            continue
        if price.input is None or money is None:
            money = None
            continue
        output = price.input if price.output is None else price.output
        money += helper.read_tokens * price.input + helper.written_tokens * output
    tokens = sum(helper.read_tokens + helper.written_tokens for helper in fit.helpers)
    return replace(cost, helper_tokens=float(tokens), helper_money=money)


def _request_money(
    cost: Cost, price: Price, time: RequestTime | None, *, cached: bool
) -> float | None:
    """Money for 1,000 requests, sent one at a time.

    With a prefix cache, shared prompt tokens cost the cached price or, where machine time is paid
    for, take no time.
    """
    tokens = cost.tokens_per_request
    shared = (cost.shared_prompt_tokens or 0.0) if cached else 0.0
    if price.input is not None:
        if cost.prompt_tokens is None:
            return None
        cached_price = price.input if price.cached_input is None else price.cached_input
        output = price.input if price.output is None else price.output
        read = (cost.prompt_tokens - shared) * price.input + shared * cached_price
        return 1000.0 * (read + (cost.generated_tokens or 0.0) * output)
    if price.machine_hour is None:
        return None
    if time is not None and tokens is not None:
        return 1000.0 * time.seconds(tokens - shared) / 3600.0 * price.machine_hour
    latency = cost.latency_p50_ms if cost.latency_mean_ms is None else cost.latency_mean_ms
    if latency is None:
        return None
    hours = latency / 3_600_000.0
    share = 1.0 if not tokens else (tokens - shared) / tokens
    return 1000.0 * hours * share * price.machine_hour


@dataclass(frozen=True, slots=True)
class Outlay:
    """What a technique costs once and for each request, in one unit (see `outlay_unit`)."""

    once: float
    per_request: float

    def for_requests(self, requests: float) -> float:
        """The cost of one fit and so many requests."""
        return self.once + requests * self.per_request


OutlayUnit = Literal["money", "tokens", "FLOPs"]


def outlay_unit(prices: Sequence[Price]) -> OutlayUnit:
    """In what the costs of a comparison are compared; `prices` has that of each base.

    Money where tokens of any base are billed. Elsewhere tokens stand in for the time of one base,
    and FLOPs for that of several, whose tokens cost differently.
    """
    if any(price.by_token for price in prices):
        return "money"
    return "tokens" if len(prices) == 1 else "FLOPs"


def outlay(
    cost: Cost, price: Price, *, cached: bool = False, unit: OutlayUnit | None = None
) -> Outlay | None:
    """The cost that the verdict compares, in `unit`; by default in that of a single base.

    Where machine time is paid for, tokens stand in for it: the same base runs every technique, so
    tokens order techniques as time would, and give the same order every time. None where it was not
    measured.
    """
    tokens = cost.tokens_per_request
    if tokens is None:
        return None
    unit = outlay_unit([price]) if unit is None else unit
    if unit == "FLOPs":
        if cost.request_flops is None:
            return None
        kept = (cost.shared_prompt_tokens or 0.0) / tokens if cached and tokens else 0.0
        return Outlay(float(cost.fit_flops or 0), cost.request_flops * (1.0 - kept))
    if unit == "money" and not price.by_token:
        of_time = cost.per_1k_requests_cached if cached else cost.per_1k_requests
        return None if of_time is None else Outlay(cost.fit_money or 0.0, of_time / 1000.0)
    if unit == "money":
        with_money = priced(cost, price)
        request = with_money.per_1k_requests_cached if cached else with_money.per_1k_requests
        return None if request is None else Outlay(with_money.fit_money or 0.0, request / 1000.0)
    shared = (cost.shared_prompt_tokens or 0.0) if cached else 0.0
    return Outlay(float(cost.fit_tokens or 0), tokens - shared)


def break_even(candidate: Outlay, reference: Outlay) -> int | None:
    """The number of requests after which `candidate` has cost no more than `reference`.

    It is n = (F_c − F_r) / (r_r − r_c), rounded up, with F for the cost once and r for that of a
    request; 0 where the candidate never costs more, None where it never catches up.
    """
    ahead = candidate.once - reference.once
    saving = reference.per_request - candidate.per_request
    if abs(saving) <= NO_DIFFERENCE * reference.per_request:
        saving = 0.0
    if saving < 0 or (saving == 0 and ahead > 0):
        return None
    if ahead <= 0:
        return 0
    return math.ceil(ahead / saving)


def shared_tokens(model: Model, examples: Sequence[Example]) -> float | None:
    """The number of tokens with which every prompt begins, which a prefix cache can keep. None for
    fewer than two different prompts."""
    from luthier.models.answering import render_for

    texts = []
    for rendered in render_for(model, list(examples[:SAMPLED_PROMPTS])):
        turns = [f"{m.role}\n{m.content}\n" for m in rendered.messages]
        texts.append("".join(turns) if turns else rendered.text)
    if len(set(texts)) < 2:
        return None
    soft = model.adaptation.soft_prompt
    before = soft is not None and soft.placement == "before"
    virtual = int(soft.tensor.shape[1]) if soft is not None and before else 0
    prefix = os.path.commonprefix(texts)  # noqa: RUF071 - characters are what is meant
    return float(virtual + model.backend.count_tokens(prefix))


def _at_most(value: float | None, limit: float | None) -> float | None:
    return value if value is None or limit is None else min(value, limit)
