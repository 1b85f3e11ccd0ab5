"""What each technique is expected to take: tokens, time, memory and money."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from luthier.compare.costs import Price, shared_tokens
from luthier.compare.plan import Estimate, PlannedTechnique
from luthier.models.model import Model
from luthier.records import Capability, Example

if TYPE_CHECKING:
    from luthier.task.task import Task

TEST_SPEED = 0.4  # of the measured forward speed, which is that of full batches
DRAWING_SPEED = 1.0  # of the measured speed, which is that of pictures drawn as a test draws them
# Memory beside the process as it is when it plans, measured on nano (benchmarks.plans).
PACKED_TOKENS = 3072  # of a batch that is scored
BYTES_A_STATE = 120.0  # of a packed token, for each number of the width
LONG_PROMPTS = 3.0  # times that where prompts show demonstrations or passages
TRAINING = 2.4e8  # optimiser, gradients' bookkeeping, and what libraries load to train
ADAPTER = 4.0e8  # what an adapter's layers keep beside those of the base
BATCH = 16
LATENCY_REQUESTS = 20
SAMPLED_EXAMPLES = 64
DEFAULT_CONTEXT = 4096
PASSAGE_TOKENS = 230  # of 1,000 characters


@dataclass(frozen=True, slots=True)
class Workload:
    """What one request takes, in tokens, and how many requests a test makes.

    `prompt` is the prompt of the task alone. Its first `shared` tokens are the same for all
    requests and are computed once. `answer` is the length of all labels together, or the longest
    text that may be generated. `example` is one solved example.
    """

    prompt: float
    shared: float
    answer: float
    example: float
    test_examples: int


def measure_workload(task: Task, model: Model, limit: int | None) -> Workload:
    """Count the tokens of some examples of the training split.

    `limit` is how many test examples will be scored; None for all.
    """
    from luthier.models.answering import render_for

    count = model.backend.count_tokens
    examples: list[Example] = list(task.train[:SAMPLED_EXAMPLES])
    prompted = model.adapt(prompt=task.base_prompt(), decoding=task.base_decoding(model.backend))
    rendered = render_for(prompted, examples)
    texts = [r.text or " ".join(m.text for m in r.messages) for r in rendered]
    decoding = prompted.adaptation.decoding
    answer = sum(count(label) for label in decoding.labels) or model.backend.answer_tokens(decoding)
    # A local model computes the shared beginning of prompts once a batch; a server may or may not.
    shares = Capability.GRADIENTS in model.capabilities
    return Workload(
        prompt=mean(count(text) for text in texts),
        shared=(shared_tokens(prompted, examples) or 0.0) if shares else 0.0,
        answer=float(answer),
        example=mean(count(f"{e.context or ''} {e.text} {e.target}") for e in examples),
        test_examples=task.test_count if limit is None else min(limit, task.test_count),
    )


def test_speed(model: Model) -> float:
    """The speed of a test, as a share of the measured forward speed of the base."""
    return DRAWING_SPEED if Capability.DRAWING in model.capabilities else TEST_SPEED


def testing_tokens(planned: PlannedTechnique, workload: Workload, model: Model) -> float:
    """Forward tokens of scoring one fitted model on the test split and of timing some requests.

    A prompt may show demonstrations in up to half of the context window. How many it will show is
    not known yet; the most that fit are counted, up to the number in the technique's footprint.
    """
    request = max(workload.example, workload.prompt - workload.shared) + workload.answer
    shown = 0.0
    if planned.footprint.demonstrations:
        half_context = (model.backend.facts.context_length or DEFAULT_CONTEXT) / 2
        shown = min(half_context, planned.footprint.demonstrations * workload.example)
    shown += planned.footprint.passages * PASSAGE_TOKENS
    return (workload.test_examples + LATENCY_REQUESTS) * (request + shown)


def estimate(
    planned: PlannedTechnique, workload: Workload, model: Model, *, speed: float | None,
    price: Price,
) -> Estimate:  # fmt: skip
    """The estimate for all seeds of a technique with its budget.

    `speed` is in forward tokens a second, None where it is unknown.
    """
    testing = testing_tokens(planned, workload, model)
    tuning = planned.budget_tokens if planned.footprint.tunes else 0
    memory = _peak_memory(planned, workload, model)
    if tuning is None:
        return Estimate(peak_memory_bytes=memory)
    tokens = int(len(planned.seeds) * (tuning + testing))
    seconds = None
    if speed is not None:
        each = tuning / planned.footprint.fit_speed + testing / test_speed(model)
        seconds = len(planned.seeds) * each / speed
    money: float | None = None
    if price.input is not None:
        money = tokens * price.input
    elif price.machine_hour is not None and seconds is not None:
        money = seconds / 3600 * price.machine_hour
    return Estimate(tokens, seconds, memory, money)


def _peak_memory(planned: PlannedTechnique, workload: Workload, model: Model) -> int | None:
    """The memory of this process now, plus what the technique adds. None for a remote model.

    A second copy of the weights brings their gradients and Adam's two moments (4 bytes a number
    each). Scoring keeps a packed batch. Training keeps about 34 × tokens × width × layers
    half-precision bytes of activations
    (arXiv:2205.05198, section 4.1), here twice that, and the logits.
    """
    facts = model.backend.facts
    now = _resident_bytes()
    if not facts.parameters or facts.remote:
        return None
    batch_tokens = BATCH * workload.example
    added = BYTES_A_STATE * PACKED_TOKENS * (facts.hidden_size or 0)
    if planned.footprint.demonstrations or planned.footprint.passages:
        added *= LONG_PROMPTS
    if planned.footprint.gradients:
        added += TRAINING + (ADAPTER if planned.family == "adapter" else 0.0)
        added += 68.0 * batch_tokens * (facts.hidden_size or 0) * (facts.layers or 0)
        added += 8.0 * batch_tokens * (facts.vocabulary or 0)
    if planned.footprint.copies_weights:
        added += 16.0 * facts.parameters
    return int(now + added)


def machine_memory() -> int | None:
    """All memory of this machine in bytes, where a comparison on its processor has to fit; None
    where a CUDA device runs the bases."""
    import psutil

    torch = sys.modules.get("torch")
    on_cuda = torch is not None and torch.cuda.is_available()
    return None if on_cuda else int(psutil.virtual_memory().total)


def _resident_bytes() -> int:
    import psutil

    resident: Any = psutil.Process().memory_info().rss
    return int(resident)
