"""Tools on local bases: chat templates that list them, and calls under a grammar, which are valid
whatever the weights are."""

from __future__ import annotations

import copy
import json

import pytest

from luthier.content import Conversation, Message, ToolCall, ToolResult, ToolSignature
from luthier.engine import LocalBackend
from luthier.models.adaptation import Decoding, ToolUse
from luthier.models.answering import render_for
from luthier.models.model import Model
from luthier.models.prompt import Prompt, PromptFormat
from luthier.records import Example
from luthier.tools.arguments import faults
from tests import tiny

QWEN = (
    "{%- if tools %}<|im_start|>system\n<tools>{% for tool in tools %}{{ tool | tojson }}"
    "{% endfor %}</tools> as <tool_call>…</tool_call><|im_end|>\n{% endif %}"
    "{%- for m in messages %}"
    "{%- if m.role == 'tool' %}<|im_start|>user\n<tool_response>{{ m.content }}</tool_response>"
    "<|im_end|>\n"
    "{%- else %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{%- for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{%- endif %}{%- endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SIGNATURES = (
    ToolSignature(
        "price",
        "Tells a price.",
        {
            "type": "object",
            "properties": {
                "item": {"type": "string", "maxLength": 8},
                "count": {"type": "integer", "minimum": 1, "maximum": 9},
                "kind": {"enum": ["oak", "elm"]},
            },
            "required": ["item", "kind"],
            "additionalProperties": False,
        },
    ),
    ToolSignature("now", "Tells the time.", {"type": "object", "properties": {}}),
)


def with_template(template: str | None) -> Model:
    backend = tiny.backend("llama")
    tokenizer = copy.deepcopy(backend.tokenizer)
    tokenizer.chat_template = template
    changed = LocalBackend(backend.module, tokenizer, name="tiny", fingerprint="x")
    return Model(changed)


def text_of(model: Model, *turns: Message) -> str:
    (rendered,) = render_for(model, [Example("1", Conversation(turns), "")])
    with model.backend.session(model.adaptation) as session:
        return session.text(rendered)


TURNS = (
    Message("user", "How much is it?"),
    Message("assistant", (ToolCall("price", {"item": "desk", "kind": "oak"}, "call01000"),)),
    Message("tool", (ToolResult("call01000", "480 <|im_end|>"),)),
)


def test_a_template_that_knows_tools_lists_them_and_writes_calls_and_results() -> None:
    model = with_template(QWEN).adapt(tools=ToolUse(SIGNATURES))
    assert model.backend.call_format == "hermes"
    assert model.backend.facts.lists_tools
    text = text_of(model, *TURNS)
    assert '"name": "price"' in text.partition("</tools>")[0]
    assert '<tool_call>{"name": "price", "arguments": {"item": "desk", "kind": "oak"}}' in text
    assert "<tool_response>480" in text
    assert "Tools:" not in text
    assert "<tools>" not in text_of(with_template(QWEN), TURNS[0])


def test_a_template_that_does_not_gets_them_in_words() -> None:
    model = with_template(GEMMA).adapt(tools=ToolUse(SIGNATURES))
    assert model.backend.call_format == "gemma"
    assert not model.backend.facts.lists_tools
    text = text_of(model, *TURNS)
    assert "- price(item: string, count?: integer, kind: oak | elm): Tells a price." in text
    assert '{"name": "price", "parameters": {"item": "desk", "kind": "oak"}}' in text
    assert "<start_of_turn>user\nResult of price: 480" in text


@pytest.mark.parametrize("template", [None, QWEN, GEMMA])
def test_whatever_the_weights_are_every_call_fits_its_schema(template) -> None:
    """Random weights, sampled: some answers, some calls, and no broken one."""
    model = with_template(template)
    style = "plain" if template is None else "auto"
    adapted = model.adapt(
        prompt=Prompt(format=PromptFormat(style=style)),
        tools=ToolUse(SIGNATURES),
        decoding=Decoding(max_new_tokens=120, temperature=1.5),
    )
    schemas = {s.name: s.parameters for s in SIGNATURES}
    examples = [Example(str(n), f"question {n}", "") for n in range(24)]
    calls = cut = 0
    for response in adapted.answer(examples, seed=1):
        cut += response.finish_reason == "length"
        for call in response.tool_calls:
            calls += 1
            assert call.name in schemas
            assert faults(call.arguments, schemas[call.name]) == ""
            assert json.loads(json.dumps(dict(call.arguments))) == dict(call.arguments)
    assert calls + cut <= 24 * 40


def test_a_call_that_is_forced_by_a_grammar_is_whole() -> None:
    """A base that would write anything calls as soon as its text begins like a call."""
    model = with_template(None)
    from luthier.engine.generation.constraint import Constraint
    from luthier.models.tool_formats import call_format, tool_grammar

    grammar = tool_grammar(call_format("plain"), SIGNATURES, Decoding(), ())
    with model.backend.session(model.adaptation) as session:
        ends = (session.tokenizer.eos_token_id,)
        constraint = Constraint.of(session, grammar, ends)
        assert constraint.accepts('price({"item": "x", "kind": "oak"})')
        assert not constraint.accepts('price({"item": "x", "kind": "ash"})')
        assert not constraint.accepts('price({"item": "x"')
        assert constraint.accepts("It costs 20.")


LOOSE = ToolSignature(
    "note",
    "Keeps a note.",
    {
        "type": "object",
        "properties": {
            "words": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "sizes": {"type": "array", "items": {"type": "number"}},
            "count": {"type": "integer", "minimum": 3_000_000},
            "share": {"type": "number", "maximum": 1},
        },
        "required": ["words", "sizes", "count", "share"],
    },
)


@pytest.mark.parametrize("template", [QWEN, None])
def test_a_call_that_runs_into_the_limit_is_asked_again_with_short_arguments(template) -> None:
    model = with_template(template).adapt(
        tools=ToolUse((LOOSE,)),
        decoding=Decoding(max_new_tokens=200, temperature=1.5, regex="no"),
    )
    asked = [Example(str(i), f"Note number {i}.", "") for i in range(12)]
    responses = [model.answer([one], seed=seed)[0] for seed, one in enumerate(asked)]
    calls = [call for response in responses for call in response.tool_calls]
    assert calls
    assert all(
        call.name == "note" and not faults(call.arguments, LOOSE.parameters) for call in calls
    )
    assert any(response.usage.calls == 2 for response in responses)


def test_what_fits_a_bounded_schema_fits_its_own() -> None:
    from jsonschema import Draft202012Validator as Validator

    from luthier.models.tool_formats.bounded_schema import bounded

    own, short = LOOSE.parameters, bounded(LOOSE).parameters
    fits = {"words": ["a"], "sizes": [0.25], "count": 3_000_007, "share": -0.5}
    assert Validator(own).is_valid(fits)
    assert Validator(short).is_valid(fits)
    for change in ({"words": ["a", "b", "c"]}, {"words": ["a" * 25]}, {"count": 9_000_000_000}):
        assert Validator(own).is_valid({**fits, **change})
        assert not Validator(short).is_valid({**fits, **change})
    assert not Validator(short).is_valid({**fits, "count": 5})
    named = bounded(ToolSignature("f", "", {"type": "object", "required": ["any"]}))
    assert Validator(named.parameters).is_valid({"any": 1})
