"""A comparison as a real one would look: eight techniques, three seeds, 150 judged examples.

The answers are drawn with a fixed seed; scores, intervals and paired differences are computed from
them by plain arithmetic, good enough to look at and not meant to be statistics.
"""

from __future__ import annotations

import random
from dataclasses import replace
from math import sqrt
from statistics import fmean, stdev

from luthier.compare.comparison import (
    Comparison,
    CurvePoint,
    OffTask,
    Run,
    TechniqueResult,
)
from luthier.compare.costs import Cost, PriceBook
from luthier.compare.plan import Plan
from luthier.compare.subject import BaseFacts, TaskFacts
from luthier.compare.verdict_record import Verdict
from luthier.ledger.provenance import Provenance
from luthier.models.backend import ModelFacts
from luthier.records import FitRecord, FitStep, PairedTest, SampleScore, Score, TrainingFacts

NASTY_MESSAGE = (
    'I am </script><script>alert(1)</script> & "Zoë" <b>O\'Neill</b>: where is my refund?'
)
NASTY_LABEL = 'refunds "and" returns\'s'
LABELS = (
    "account-access", "billing", "delivery", NASTY_LABEL, "technical-fault",
    "complaint-to-a-person", "partnership-and-press", "product-advice",
)  # fmt: skip
_MESSAGES = (
    ("The page for the second factor stays grey and will not let me skip it.", 0),
    ("I changed phones and now the code goes to a number I no longer have.", 0),
    ("You took 39.90 twice on the 3rd. I only bought one lamp.", 1),
    ("Why does the invoice say VAT 20 % when the shop is in Ireland?", 1),
    ("Tracking says delivered. The only thing on my doorstep is the cat.", 2),
    ("Parcel left in the rain: no bag, no porch, just cardboard pulp with a down jacket in it.", 2),
    (NASTY_MESSAGE, 3),
    ("Your policy says free returns, the post office wanted £8.45. I have kept the slip.", 3),
    ("Watch face says 1970 and buzzes at 4 a.m. daily. No alarm is set.", 4),
    ("The zip on the replacement tent has failed in precisely the same spot.", 4),
    ("I asked for a manager three times. A person with a name, please.", 5),
    ("Your staff told me, in front of the whole shop, that I should have read the terms.", 5),
    ("We are a podcast about huts. Would you lend us two tents for an episode?", 6),
    ("Thirty-one firefighters want the same head torch. Is there a price for a station?", 6),
    ("Which stove works above 4,000 m and can be flown with?", 7),
    ("Is the 20-degree bag warm enough for a side sleeper in October?\n\nAsking for my wife.", 7),
)
# name, family, trained, how often right, seeds, tokens, latency, fit seconds, trainable, bytes
_TECHNIQUES = (
    ("zero-shot", "prompt", False, 0.31, 1, 96.0, 21.0, 0.0, 0, 1_840),
    ("few-shot", "prompt", False, 0.55, 3, 742.0, 118.0, 31.0, 0, 9_120),
    ("prompt-search", "prompt", False, 0.63, 3, 611.0, 97.0, 118.0, 0, 8_204),
    ("soft-prompt", "soft prompt", True, 0.74, 3, 116.0, 25.0, 121.0, 7_680, 31_900),
    ("lora", "adapter", True, 0.86, 3, 96.0, 23.0, 104.0, 147_456, 612_000),
    ("full", "weights", True, 0.91, 3, 96.0, 21.0, 119.0, 14_200_000, 28_412_000),
)


def example_comparison() -> Comparison:
    """The whole of it: six measured rows, one failed, one skipped, a recipe and its step."""
    rows = [_row(*settings) for settings in _TECHNIQUES]
    step = replace(
        _row("few-shot", "prompt", False, 0.55, 1, 742.0, 118.0, 31.0, 0, 9_120),
        technique="few-shot (step 1 of few-shot -> lora)",
        slug="few-shot-lora-1",
        part_of="few-shot -> lora",
    )
    recipe = _row(
        "few-shot -> lora", "recipe", True, 0.83, 3, 742.0, 121.0, 135.0, 147_456, 640_000
    )
    failed = _unmeasured(
        "ia3",
        "adapter",
        "failed",
        "The loss became NaN at step 14 with learning rate 0.3; lower it with "
        "ia3(learning_rate=0.05).",
    )
    skipped = _unmeasured(
        "prefix-tuning",
        "adapter",
        "skipped",
        "prefix-tuning needs gradients, which https://api.example.com/v1#model does not give",
    )
    rows = [*rows, step, recipe, failed, skipped]
    measured = [row for row in rows if row.runs and row.part_of is None]
    return Comparison(
        id="c-2f6a90",
        task=TaskFacts(
            name="Support routing",
            kind="classify",
            fingerprint="9f1c" * 16,
            instruction="Route the customer's message to the queue that can settle it.",
            labels=LABELS,
            metric="accuracy",
            train_examples=360,
            dev_examples=90,
            test_examples=150,
            chance=0.127,
            leaks={
                "exact": 2,
                "near": 3,
                "dropped": True,
                "repeated": 1,
                "conflicting": 1,
                "samples": [
                    {
                        "example_id": "c1009",
                        "split": "train",
                        "found_id": "c5011",
                        "found_split": "test",
                        "similarity": 0.91,
                    },
                ],
            },
        ),
        bases=(
            BaseFacts(
                name="nano",
                fingerprint="5b0d" * 16,
                facts=ModelFacts(
                    parameters=14_200_000,
                    body_parameters=10_700_000,
                    hidden_size=384,
                    layers=6,
                    vocabulary=9_216,
                    context_length=1_024,
                    architecture="llama",
                    device="cpu",
                    dtype="float32",
                ),
                capabilities=("embeddings", "gradients", "log-probabilities", "text"),
            ),
        ),
        plan=Plan(
            techniques=(),
            seeds=3,
            budget_minutes=2.0,
            budget_tokens=1_920_000,
            hard_cap_seconds=1_800.0,
            tokens_per_second=16_000.0,
            test_examples=150,
            curve=(0.1, 0.25, 0.5),
            currency="USD",
        ),
        results=tuple(rows),
        verdict=Verdict(
            pick="lora",
            because=f"lora scores {_words(rows[4])} on 150 test examples: 2.2 points from the "
            f"best, full ({_words(rows[5])}), and so within the tolerance of 3 points. Counting "
            "one fit and 10,000 requests it is the cheapest of those within 3 points of the best: "
            "2.9 million tokens of compute, against 3.1 for full. With 95 % confidence it costs at "
            "most 6.4 points against the best of these, whichever that truly is.",
            tied_with=("full", "few-shot -> lora"),
            best="full",
            break_even_requests=2_972,
            break_even_requests_cached=None,
            bound=0.064,
            optimism=0.011,
            next_steps=(
                "lora was still gaining when the examples ran out (+0.041 from 50 % of them to "
                "all): more labelled examples should pay.",
                "Look at billing and <refunds>: half of all errors lie between the two.",
            ),
        ),
        tests=tuple(_paired(row, rows[5]) for row in measured if row is not rows[5]),
        curve=_curve(),
        prices=PriceBook(currency="USD", machine_hour=0.1),
        provenance=Provenance(
            luthier="0.1.0",
            python="3.11.7",
            torch="2.13.0",
            transformers="5.23.0",
            peft="0.21.0",
            platform="Linux-6.1-x86_64",
            cpu="A CPU @ 2.40GHz",
            cpu_cores=2,
            memory_bytes=8_200_000_000,
            git_commit=None,
            time="2026-05-04T09:12:44.120+00:00",
        ),
        folder="runs/support-routing",
    )


def bare_comparison() -> Comparison:
    """Nothing measured anywhere: one finished row with a score, one without, all else None."""
    none = Score("accuracy", None)
    run = Run(seed=0, status="finished", score=Score("accuracy", 0.5), parse_rate=none)
    rows = (
        TechniqueResult(
            technique="zero-shot",
            slug="zero-shot",
            family="prompt",
            trained=False,
            status="finished",
            score=Score("accuracy", 0.5),
            parse_rate=none,
            runs=(run,),
        ),
        TechniqueResult(
            technique="lora",
            slug="lora",
            family="adapter",
            trained=True,
            status="planned",
            score=none,
            parse_rate=none,
        ),
    )
    return Comparison(
        id="bare",
        task=TaskFacts("bare", "generate", "", "", (), "accuracy", 0, 0, 0),
        bases=(BaseFacts("fake", "", ModelFacts(), ()),),
        plan=Plan(
            techniques=(),
            seeds=0,
            budget_minutes=None,
            budget_tokens=None,
            hard_cap_seconds=None,
            tokens_per_second=None,
            test_examples=0,
        ),
        results=rows,
        verdict=Verdict(pick=None, because="Nothing has finished."),
    )


def prompt_text(shots: int) -> str:
    """A plain prompt with spaces that are easily missed."""
    head = "Route the customer's message to the queue that can settle it.\n\nLabels: "
    blocks = [f"Message: {m}\nQueue: {LABELS[k]}" for m, k in _MESSAGES[:shots]]
    query = "Message:  two spaces, a\ttab & a trailing space \nQueue:"
    return "\n\n".join([head + ", ".join(LABELS), *blocks, query])


def _row(
    name: str, family: str, trained: bool, skill: float, seeds: int, tokens: float,
    latency: float, fit_seconds: float, trainable: int, size: int,
) -> TechniqueResult:  # fmt: skip
    cost = Cost(
        fit_seconds=fit_seconds,
        fit_tokens=round(fit_seconds * 16_000),
        fit_flops=fit_seconds * 16_000 * 2 * 10.7e6,
        fit_money=fit_seconds / 36_000,
        peak_memory_bytes=None if not trained else 812_000_000 + 40 * trainable,
        trainable_parameters=trainable if trained else None,
        artifact_bytes=size,
        prompt_tokens=tokens,
        shared_prompt_tokens=tokens - 38,
        generated_tokens=0.0,
        request_flops=tokens * 2 * 10.7e6,
        latency_p50_ms=latency,
        latency_p95_ms=latency * 1.7,
        per_1k_requests=latency / 36_000,
        per_1k_requests_cached=latency / 36_000 * 38 / tokens,
    )
    runs = tuple(_run(name, family, skill, seed, cost) for seed in range(seeds))
    values = [run.score.value or 0.0 for run in runs]
    spread = 2.4 * stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
    low, high = _interval(fmean(values))
    return TechniqueResult(
        technique=name,
        slug=name.replace(" -> ", "-"),
        family=family,
        trained=trained,
        status="finished",
        score=Score("accuracy", fmean(values), low - spread / 3, min(high + spread / 3, 1.0)),
        parse_rate=Score("parse_rate", fmean(r.parse_rate.value or 0.0 for r in runs), 0.9, 1.0),
        runs=runs,
        settings={"rank": 8, "alpha": 16} if "lora" in name else {},
        cost=cost,
        total_cost=fit_seconds * 16_000 + 10_000 * tokens,
        off_task=OffTask(3.482, 3.482 + trainable / 6e7, 4_096) if trained else None,
        best_seed=0,
        path=name,
    )


def _run(name: str, family: str, skill: float, seed: int, cost: Cost) -> Run:
    rng = random.Random(f"{name}{seed}")
    hard = random.Random("difficulty")
    sample_scores = []
    for i in range(150):
        text, label = _MESSAGES[i % len(_MESSAGES)]
        ease = hard.gauss(0, 0.22)
        right = rng.random() < min(max(skill + ease, 0.02), 0.99)
        other = LABELS[(label + rng.choice((1, 1, 1, 2, 5))) % len(LABELS)]
        unread = not right and family == "prompt" and rng.random() < 0.06
        said = LABELS[label] if right else other
        sample_scores.append(
            SampleScore(
                example_id=f"c{i:04d}",
                input=text if i < len(_MESSAGES) else f"{text} Order {10_000 + 37 * i}.",
                target=LABELS[label],
                raw="I'd rather not say." if unread else said,
                prediction=None if unread else said,
                parseable=not unread and rng.random() < 0.985,
                value=1.0 if right else 0.0,
            )
        )
    value = fmean(j.value for j in sample_scores)
    parseable = fmean(1.0 if j.parseable else 0.0 for j in sample_scores)
    return Run(
        seed=seed,
        status="finished",
        score=Score("accuracy", value, *_interval(value)),
        parse_rate=Score("parse_rate", parseable, None, None),
        secondary=(Score("macro-f1", value - 0.012),),
        sample_scores=tuple(sample_scores),
        fit=_fit(family, skill, rng, cost),
        cost=cost,
        dev_score=min(value + rng.uniform(-0.03, 0.03), 1.0),
        prompt_text=prompt_text(6 if name.startswith(("few-shot", "prompt-search")) else 0),
        path=name,
    )


def _fit(family: str, skill: float, rng: random.Random, cost: Cost) -> FitRecord:
    if family == "prompt":
        history = tuple(
            FitStep(candidate=f"candidate {t}",
                    part=rng.choice(("format", "instruction", "demonstrations")),
                    dev_score=skill + rng.uniform(-0.15, 0.02)) for t in range(40)
        )  # fmt: skip
        training = None
        settled: dict[str, object] = {"shots": 6, "selection": "diverse", "calibrated": True}
    else:
        history = tuple(
            FitStep(step=10 * k, train_loss=0.3 + 2.2 * 0.93**k + rng.uniform(0, 0.1),
                    learning_rate=0.001,
                    dev_score=skill * (1 - 0.9**k) if k % 4 == 0 else None) for k in range(60)
        )  # fmt: skip
        training = TrainingFacts(
            learning_rate=0.0007, learning_rates_tried=(0.0002, 0.0007), steps=590, batch_size=8,
            epochs=13.1, dev_examples=120, stopped_early=False,
        )  # fmt: skip
        settled = {"nearest_tokens": ["refund", " parcel", " queue", "</s>"]}
    return FitRecord(
        fit_seconds=cost.fit_seconds,
        spent_tokens=cost.fit_tokens,
        trainable_parameters=cost.trainable_parameters,
        train_examples=360,
        peak_memory_bytes=cost.peak_memory_bytes,
        training=training if cost.fit_seconds else None,
        settled=settled if cost.fit_seconds else {},
        history=history if cost.fit_seconds else (),
        notes=("The best step was on dev, not the last one.",) if family != "prompt" else (),
    )


def _unmeasured(name: str, family: str, status: str, reason: str) -> TechniqueResult:
    none = Score("accuracy", None)
    return TechniqueResult(
        technique=name, slug=name, family=family, trained=True, status=status,  # type: ignore[arg-type]
        score=none, parse_rate=none, reason=reason,
    )  # fmt: skip


def _words(row: TechniqueResult) -> str:
    value, low, high = row.score.value, row.score.low, row.score.high
    return f"accuracy {value:.3f} (95 % interval {low:.3f} to {high:.3f})"


def _interval(value: float, n: int = 150) -> tuple[float, float]:
    half = 1.96 * sqrt(max(value * (1 - value), 0.01) / n)
    return max(value - half, 0.0), min(value + half, 1.0)


def _paired(a: TechniqueResult, b: TechniqueResult) -> PairedTest:
    """A normal approximation on the first seeds."""
    gaps = [
        x.value - y.value
        for x, y in zip(a.runs[0].sample_scores, b.runs[0].sample_scores, strict=True)
    ]
    middle = (a.score.value or 0.0) - (b.score.value or 0.0)
    half = 1.96 * max(stdev(gaps), 0.05) / sqrt(len(gaps))
    p = min(1.0, 2.0 ** (-2.0 * (middle / half) ** 2 * 1.3))
    return PairedTest(
        first=a.technique, second=b.technique, difference=middle, low=middle - half,
        high=middle + half, p_value=p, p_adjusted=min(1.0, 3 * p), tied=3 * p >= 0.05,
        test="max-t bootstrap", examples=150,
    )  # fmt: skip


def _curve() -> tuple[CurvePoint, ...]:
    rng = random.Random("curve")
    reach = {
        "few-shot": (0.46, 0.55), "soft-prompt": (0.35, 0.73), "lora": (0.4, 0.82),
        "full": (0.3, 0.83),
    }  # fmt: skip
    points = []
    for name, (start, end) in reach.items():
        for share, count in ((0.1, 36), (0.25, 90), (0.5, 180)):
            for seed in (0, 1, 2):
                value = start + (end - start) * share**0.4 + rng.uniform(-0.03, 0.03)
                score = Score("accuracy", value, *_interval(value))
                points.append(CurvePoint(name, share, count, seed, score, 30.0))
    return tuple(points)
