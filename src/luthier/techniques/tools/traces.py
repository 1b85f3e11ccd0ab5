"""Traces: training examples with the calls that lead to their answers, and what these returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from luthier.content import Conversation, Message, ToolCall, ToolResult, ToolStep
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, call_id
from luthier.models.tool_formats import call_format
from luthier.models.tool_prompt import format_name
from luthier.records import Example
from luthier.tools import Toolbox


def steps_by_question(examples: Sequence[Example], box: Toolbox) -> dict[str, tuple[ToolStep, ...]]:
    """For each example that names its calls: the calls with their results, run now.

    An example of which a call fails is left out: it would teach a mistake.
    """
    found: dict[str, tuple[ToolStep, ...]] = {}
    for example in examples:
        if example.calls is None:
            continue
        results = box.start(example.text).run(example.calls)
        if not any(result.failed for result in results):
            found[example.text] = tuple(
                ToolStep(call.name, call.arguments, result.text)
                for call, result in zip(example.calls, results, strict=True)
            )
    return found


def with_steps(
    shown: Sequence[Demonstration], steps: Mapping[str, tuple[ToolStep, ...]]
) -> tuple[Demonstration, ...]:
    """Demonstrations with the calls of their questions, where these are known."""
    return tuple(replace(d, steps=steps.get(d.input, d.steps)) for d in shown)


def trace_examples(
    model: Model, examples: Sequence[Example], steps: Mapping[str, tuple[ToolStep, ...]]
) -> tuple[Example, ...]:
    """What a model with tools writes for each example, a turn an example: the calls after the
    question, then the answer after their results.

    An example without a known way stays as it is where it needs no call, and is left out where
    nobody wrote its calls down.
    """
    form, traces = call_format(format_name(model)), []
    for example in examples:
        known = steps.get(example.text)
        if known is None:
            continue
        if not known:
            traces.append(example)
            continue
        calls = tuple(
            ToolCall(step.name, step.arguments, call_id(1, place))
            for place, step in enumerate(known)
        )
        results = tuple(
            ToolResult(call.id, step.result) for call, step in zip(calls, known, strict=True)
        )
        asked = Conversation.of(example.input).messages
        after = Conversation((*asked, Message("assistant", calls), Message("tool", results)))
        traces.append(replace(example, id=f"{example.id}-call", target=form.write(calls)))
        traces.append(replace(example, id=f"{example.id}-answer", input=after))
    return tuple(traces)
