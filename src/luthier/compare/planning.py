"""Making the plan: equal budgets, and an estimate of time, memory and money for each technique.

Every fit of every technique, and so every family, may spend the same number of forward-token
equivalents. Where the user gave minutes, what testing will take is set aside first, and the rest is
shared out at `AIM` of the measured speed: the forward speed is that of a full batch, and a fit has
stretches that are slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log10
from statistics import mean
from typing import TYPE_CHECKING, Any

from luthier.compare.costs import Price, PriceBook, shared_tokens
from luthier.compare.options import Options
from luthier.compare.plan import Estimate, Plan, PlannedTechnique
from luthier.compare.running.run_keys import settings_plain, slug
from luthier.errors import BudgetError
from luthier.models.model import Model
from luthier.records import Budget, Capability, Example
from luthier.techniques.base import unmet_by_model, unmet_by_task

if TYPE_CHECKING:
    from luthier.task.task import Task
    from luthier.techniques.base import Technique

AIM = 0.6
CAP_FACTOR = 1.5
LOOKED_AT = 64
LATENCY_REQUESTS = 20
BATCH = 16
PASSAGE_TOKENS = 230  # of 1,000 characters
LEAST_BATCHES = 4  # below so many training batches a budget is too small for anything


@dataclass(frozen=True, slots=True)
class Workload:
    """What one request takes, in tokens: `prompt` of the task alone, of which the first `shared`
    are the same for all and computed once, `answer` all labels or the longest text, `example` one
    solved example."""

    prompt: float
    shared: float
    answer: float
    example: float
    test_examples: int


def make_plan(
    task: Task, model: Model, techniques: Sequence[Technique], *, budget: Budget, seeds: int,
    options: Options, book: PriceBook,
) -> Plan:  # fmt: skip
    """Resolve budgets and estimate. BudgetError when nothing could be done with the budget."""
    from luthier.compare.costs.speed import tokens_per_second

    price = book.of(model.backend.name, remote=model.backend.facts.remote)
    speed = tokens_per_second(model, task)
    load = workload(task, model, options.limit)
    planned_techniques = [
        _line(t, model, task, seeds=seeds, first=options.seed) for t in techniques
    ]
    _distinct(planned_techniques)
    runs = sum(
        len(planned.seeds)
        for planned in planned_techniques
        if planned.skip_reason is None and planned.footprint.tunes
    )
    testing = sum(
        len(planned.seeds) * testing_tokens(planned, load, model)
        for planned in planned_techniques
        if planned.skip_reason is None
    )
    each = _share(budget, speed=speed, testing=testing, runs=runs, load=load)
    return Plan(
        techniques=tuple(
            planned
            if planned.skip_reason is not None
            else replace(
                planned,
                budget_tokens=each,
                estimate=_estimate(planned, each, load, model, speed, price),
            )
            for planned in planned_techniques
        ),
        seeds=seeds,
        budget_minutes=budget.minutes,
        budget_tokens=budget.tokens,
        hard_cap_seconds=hard_cap(budget, options),
        tokens_per_second=speed,
        test_examples=load.test_examples,
        curve=options.curve,
        limit=options.limit,
        seed=options.seed,
        currency=book.currency,
        billed=price.by_token,
    )


def workload(task: Task, model: Model, limit: int | None) -> Workload:
    """Count the tokens of some examples of the training split."""
    from luthier.models.answering import render_for

    count = model.backend.count_tokens
    some: list[Example] = list(task.train[:LOOKED_AT])
    asked = model.adapt(prompt=task.base_prompt(), decoding=task.base_decoding())
    texts = [r.text or " ".join(m.text for m in r.messages) for r in render_for(asked, some)]
    decoding = asked.adaptation.decoding
    answer = sum(count(label) for label in decoding.labels) or decoding.max_new_tokens
    test = task.test_count if limit is None else min(limit, task.test_count)
    # A local model computes the beginning that prompts share once a batch; a server may or may not.
    once = Capability.GRADIENTS in model.capabilities
    return Workload(
        prompt=mean(count(t) for t in texts),
        shared=(shared_tokens(asked, some) or 0.0) if once else 0.0,
        answer=float(answer),
        example=mean(count(f"{e.context or ''} {e.text} {e.target}") for e in some),
        test_examples=test,
    )


def testing_tokens(planned: PlannedTechnique, load: Workload, model: Model) -> float:
    """Forward tokens of scoring one fitted model on the test split and of timing some requests.

    A prompt may hold demonstrations up to half the context; how many is not known before, so
    what the context allows counts, up to those of the technique's footprint.
    """
    request = max(load.example, load.prompt - load.shared) + load.answer
    shown = 0.0
    if planned.footprint.demonstrations:
        room = (model.backend.facts.context_length or 4096) / 2
        shown = min(room, planned.footprint.demonstrations * load.example)
    shown += planned.footprint.passages * PASSAGE_TOKENS
    return (load.test_examples + LATENCY_REQUESTS) * (request + shown)


def _line(
    technique: Technique, model: Model, task: Task, *, seeds: int, first: int
) -> PlannedTechnique:
    from luthier.techniques.spelling import spell

    count = seeds if technique.trained else 1
    name = spell(technique)
    return PlannedTechnique(
        name=name,
        slug=slug(name),
        family=technique.family,
        trained=technique.trained,
        settings=settings_plain(technique),
        footprint=technique.footprint,
        seeds=tuple(range(first, first + count)),
        budget_tokens=None,
        skip_reason=unmet_by_model(technique, model) or unmet_by_task(technique, task),
    )


def _distinct(planned_techniques: list[PlannedTechnique]) -> None:
    """Give techniques of one name different names and folders: "lora", "lora 2"."""
    seen: dict[str, int] = {}
    for index, planned in enumerate(planned_techniques):
        seen[planned.name] = seen.get(planned.name, 0) + 1
        if seen[planned.name] > 1:
            name = f"{planned.name} {seen[planned.name]}"
            planned_techniques[index] = replace(planned, name=name, slug=slug(name))


def _share(
    budget: Budget, *, speed: float | None, testing: float, runs: int, load: Workload
) -> int | None:
    """The tuning budget of one fit in forward-token equivalents, rounded down to two digits."""
    if runs == 0:
        return None
    if budget.tokens is not None:
        each = budget.tokens / runs
        least = ceil(runs * _least(load))
        least_words = f"{least:,} tokens (--budget {least}tok)"
    elif speed is None or budget.minutes is None:
        return None
    else:
        left = budget.minutes * 60 * AIM - testing / speed
        each = left * speed / runs
        seconds = (testing + runs * _least(load)) / speed / AIM
        least_words = f"about {max(1, round(seconds))} seconds"
    if each < _least(load):
        given = (
            f"{budget.tokens:,} tokens" if budget.tokens is not None
            else f"{(budget.minutes or 0) * 60:g} seconds"
        )  # fmt: skip
        raise BudgetError(
            f"A budget of {given} is too small for {runs} run{'s' * (runs != 1)} "
            f"on {load.test_examples} test examples: it takes at least {least_words}",
            next_step="Give a larger --budget, fewer --techniques or --seeds, or a --limit on the "
            "test examples.",
        )
    return _two_digits(each)


def _least(load: Workload) -> float:
    return LEAST_BATCHES * BATCH * 2 * load.example


def _two_digits(value: float) -> int:
    """Rounded down, so that a speed measured a hair differently gives the same budget mostly."""
    unit = 10 ** max(0, floor(log10(value)) - 1)
    return int(value // unit * unit)


def hard_cap(budget: Budget, options: Options) -> float | None:
    """The time limit in seconds; None where the budget is in tokens and no limit was given."""
    if options.hard_cap_minutes is not None:
        return options.hard_cap_minutes * 60
    return None if budget.minutes is None else budget.minutes * 60 * CAP_FACTOR


def _estimate(
    planned: PlannedTechnique, each: int | None, load: Workload, model: Model, speed: float | None,
    price: Price,
) -> Estimate:  # fmt: skip
    testing = testing_tokens(planned, load, model)
    tuning = 0 if not planned.footprint.tunes else each
    if tuning is None:
        return Estimate(peak_memory_bytes=_memory(planned, load, model))
    tokens = int(len(planned.seeds) * (tuning + testing))
    seconds = None if speed is None else tokens / speed / AIM
    money: float | None = None
    if price.input is not None:
        money = tokens * price.input
    elif price.machine_hour is not None and seconds is not None:
        money = seconds / 3600 * price.machine_hour
    return Estimate(tokens, seconds, _memory(planned, load, model), money)


def _memory(planned: PlannedTechnique, load: Workload, model: Model) -> int | None:
    """The process as it is, plus what the technique adds. None for a model that is elsewhere.

    A fork adds a copy of the weights, their gradients and Adam's two moments (4 bytes a number
    each). Training keeps about 34 × tokens × width × layers half-precision bytes of activations
    (arXiv:2205.05198, section 4.1), here twice that, and the logits.
    """
    facts = model.backend.facts
    here = _resident()
    if not facts.parameters or facts.remote:
        return None
    batch = BATCH * load.example
    added = 0.0
    if planned.footprint.gradients:
        added += 68.0 * batch * (facts.hidden_size or 0) * (facts.layers or 0)
        added += 8.0 * batch * (facts.vocabulary or 0)
    if planned.footprint.copies_weights:
        added += 16.0 * facts.parameters
    return int(here + added)


def _resident() -> int:
    import psutil

    resident: Any = psutil.Process().memory_info().rss
    return int(resident)
