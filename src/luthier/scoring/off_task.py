"""Forgetting: how a fit changed the model on text that has nothing to do with the task.

The text is `off_task.txt`, twenty paragraphs of plain English written for this project, so that no
model has been trained on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from importlib.resources import files

from luthier.models.adaptation import Decoding
from luthier.models.backend import ScoreRequest
from luthier.models.model import Model
from luthier.models.prompt import Prompt, Rendered
from luthier.records import Capability, Score


@dataclass(frozen=True, slots=True)
class OffTaskLoss:
    """Loss on the off-task text; lower is better.

    Nats per token depend on the tokenizer, bits per byte do not: compare two bases by the latter.
    `paragraph_nats` and `paragraph_tokens` have one entry for each paragraph.
    """

    nats_per_token: float
    bits_per_byte: float
    tokens: int
    bytes: int
    paragraph_nats: tuple[float, ...]
    paragraph_tokens: tuple[int, ...]


def off_task_paragraphs() -> tuple[str, ...]:
    """The paragraphs of the off-task text."""
    text = files("luthier.scoring").joinpath("off_task.txt").read_text(encoding="utf-8")
    return tuple(" ".join(p.split()) for p in text.split("\n\n") if p.strip())


def off_task_loss(model: Model) -> OffTaskLoss | None:
    """-log p of each paragraph after its first word, under weights, adapter and soft prompt alone.

    The text prompt is left out: it would be read as the beginning of the paragraph. None where the
    model returns no log-probabilities.
    """
    if Capability.LOGPROBS not in model.capabilities:
        return None
    bare = replace(model.adaptation, prompt=Prompt(), decoding=Decoding())
    # The first word stands for the prompt: not every base has a token to begin an empty one with.
    split = [paragraph.partition(" ") for paragraph in off_task_paragraphs()]
    rests = [space + rest for _, space, rest in split]
    requests = [
        ScoreRequest(Rendered(text=first), (rest,))
        for (first, _, _), rest in zip(split, rests, strict=True)
    ]
    scored = model.backend.score(requests, bare)
    nats = tuple(-s.logprobs[0] for s in scored)
    tokens = tuple(s.tokens[0] for s in scored)
    size = sum(len(rest.encode()) for rest in rests)
    return OffTaskLoss(
        nats_per_token=sum(nats) / sum(tokens),
        bits_per_byte=sum(nats) / math.log(2.0) / size,
        tokens=sum(tokens),
        bytes=size,
        paragraph_nats=nats,
        paragraph_tokens=tokens,
    )


def forgetting(before: OffTaskLoss, after: OffTaskLoss) -> Score:
    """Loss after minus loss before, in nats per token, with a paired bootstrap over paragraphs.

    Positive: the fit cost the model something. Both must come from one base (one tokenizer).
    """
    if before.paragraph_nats == after.paragraph_nats:
        return Score("forgetting", 0.0, 0.0, 0.0, higher_is_better=False)
    import numpy as np

    from luthier.scoring.metrics import Floats, Statistics
    from luthier.scoring.statistics.intervals import Bounds, over_examples

    def per_token(sums: Floats) -> Floats:
        gap: Floats = sums[..., 0] / sums[..., 1]
        return gap

    rows = [
        (b - a, count)
        for a, b, count in zip(
            before.paragraph_nats, after.paragraph_nats, after.paragraph_tokens, strict=True
        )
    ]
    statistics = Statistics(np.array(rows, dtype=np.float64), per_token)
    low, high = over_examples(statistics, np.arange(len(rows)), bounds=Bounds(None, None))
    return Score("forgetting", statistics.value, low, high, higher_is_better=False)
