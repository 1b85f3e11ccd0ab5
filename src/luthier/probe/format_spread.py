"""How much does the form of a prompt matter, where its meaning stays? (FormatSpread,
arXiv:2310.11324)

The task's own prompt and others with the same words under other names and between other separators
answer the same examples. What is between the best and the worst of them is no matter of knowledge.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from luthier.context import report_progress
from luthier.models.answering import render_for
from luthier.models.model import Model
from luthier.models.prompt import Prompt, PromptFormat
from luthier.probe.task_sample import RIGHT
from luthier.records import Example
from luthier.scoring.evaluation import score_samples
from luthier.scoring.scorer import Scorer

PROMPTS = 20
NAMES = (("Input", "Label"), ("Text", "Answer"), ("Question", "Answer"), ("Q", "A"),
         ("INPUT", "OUTPUT"))  # fmt: skip
AFTER_NAMES = (": ", ":\n", " -> ")
BETWEEN = ("\n", "\n\n", " | ")
STYLES: tuple[Literal["as-is", "words"], ...] = ("as-is", "words")
WRAPPINGS = ("{}", "Task: {}", "### {}", "Instruction: {}", "[{}]", "{} ###", "# Task\n{}", "- {}",
             "<task> {} </task>", "TASK: {}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class FormatScore:
    """One way to write the prompt, shown as it writes an example, and its score."""

    written: str
    score: float


@dataclass(frozen=True, slots=True)
class FormatSpread:
    """The scores of equivalent prompts on the same `examples`, the best first, and `own`, that of
    the task's own. `changing` is the share of examples that some prompts get right and others do
    not."""

    metric: str
    examples: int
    own: float
    scores: tuple[FormatScore, ...]
    changing: float

    @property
    def spread(self) -> float:
        """The best score less the worst."""
        return self.scores[0].score - self.scores[-1].score


def format_spread(
    model: Model, examples: Sequence[Example], scorer: Scorer, *, seed: int = 0
) -> FormatSpread | None:
    """The spread of a model that has the task's prompt; None where there are no examples, or no
    other way to write the prompt."""
    if not examples:
        return None
    prompts = equivalent_prompts(model, examples[0], seed=seed)
    if len(prompts) < 2:
        return None
    values: list[list[float]] = []
    for place, prompt in enumerate(prompts):
        report_progress(place, len(prompts), f"form {place + 1} of {len(prompts)}")
        samples, _ = score_samples(model.adapt(prompt=prompt), examples, scorer=scorer, seed=seed)
        values.append([sample.value for sample in samples])
    scored = [
        FormatScore(_written(prompt), sum(own) / len(own))
        for prompt, own in zip(prompts, values, strict=True)
    ]
    least = RIGHT * (1.0 if scorer.high is None else scorer.high)
    changing = sum(
        len({value >= least for value in each}) > 1 for each in zip(*values, strict=True)
    )
    return FormatSpread(
        metric=scorer.metric,
        examples=len(examples),
        own=scored[0].score,
        scores=tuple(sorted(scored, key=lambda form: -form.score)),
        changing=changing / len(examples),
    )


def equivalent_prompts(
    model: Model, example: Example, *, most: int = PROMPTS, seed: int = 0
) -> list[Prompt]:
    """The model's own prompt, and others of the same meaning, all of which read differently."""
    own = model.adaptation.prompt
    seen, found = set(), []
    stops = model.adaptation.decoding.stop
    for prompt in (own, *_others(own, stops, seed)):
        rendered = render_for(model.adapt(prompt=prompt), [example])[0]
        read = (rendered.text, rendered.messages)
        if read not in seen:
            seen.add(read)
            found.append(prompt)
        if len(found) == most:
            break
    return found


def _others(own: Prompt, stops: Sequence[str], seed: int) -> Iterator[Prompt]:
    """All combinations in a random order. Where a stop spells the present names, these stay."""
    form = own.format
    fixed = any(stop.strip() for stop in stops)
    names = ((form.input_name, form.target_name),) if fixed else NAMES
    styles = STYLES if own.labels else (form.label_style,)
    wrappings = WRAPPINGS if own.instruction else ("{}",)
    combinations = list(product(names, AFTER_NAMES, BETWEEN, styles, wrappings))
    random.Random(seed).shuffle(combinations)
    for (source, target), after, between, style, wrapping in combinations:
        changed: PromptFormat = replace(
            form, input_name=source, target_name=target, name_separator=after,
            field_separator=between, label_style=style,
        )  # fmt: skip
        instruction = wrapping.format(own.instruction) if own.instruction else ""
        yield replace(own, format=changed, instruction=instruction)


def _written(prompt: Prompt) -> str:
    """The frame of a prompt: "Q: … | A: …"."""
    form = prompt.format
    frame = (
        f"{form.input_name}{form.name_separator}…{form.field_separator}"
        f"{form.target_name}{form.name_separator}…"
    )
    first = prompt.instruction.split(" ")[0]
    return f"{first} … {frame}".replace("\n", "⏎")
