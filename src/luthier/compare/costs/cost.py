"""The record of what a technique costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What one fit cost, and what the fitted model costs to use. None: not measured.

    `fit_generated_tokens` is the part of `fit_tokens` that was generated. `helper_tokens` is the
    part that other models read and wrote (a teacher, a writer of prompts), and `helper_money` what
    they cost; it is part of `fit_money`.
    `prompt_tokens`, `label_tokens` (computed to rank the labels) and `generated_tokens` are per
    request; `shared_prompt_tokens` is the part of
    the prompt that is the same for every request and can be cached. FLOPs follow the formulas in
    `costs.formulas`. Money is in the currency of the price book: `fit_money` is paid once,
    `per_1k_requests` is without a prefix cache and `per_1k_requests_cached` with one. Where machine
    time is paid for, the first has a 95 % interval (`per_1k_low`, `per_1k_high`) over
    `timed_requests` requests.
    """

    fit_seconds: float | None = None
    fit_tokens: float | None = None
    fit_generated_tokens: float | None = None
    fit_flops: float | None = None
    fit_money: float | None = None
    helper_tokens: float | None = None
    helper_money: float | None = None
    peak_memory_bytes: int | None = None
    trainable_parameters: int | None = None
    artifact_bytes: int | None = None
    prompt_tokens: float | None = None
    shared_prompt_tokens: float | None = None
    generated_tokens: float | None = None
    label_tokens: float | None = None
    request_flops: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_mean_ms: float | None = None
    timed_requests: int | None = None
    per_1k_requests: float | None = None
    per_1k_requests_cached: float | None = None
    per_1k_low: float | None = None
    per_1k_high: float | None = None

    @property
    def tokens_per_request(self) -> float | None:
        """Tokens of the prompt, of the labels that are ranked, and generated ones, without a
        cache."""
        if self.prompt_tokens is None:
            return None
        return self.prompt_tokens + (self.label_tokens or 0.0) + (self.generated_tokens or 0.0)
