"""How families write calls, how they are read, and that a grammar holds calls to their schemas."""

# ruff: noqa: E501 - what models write, a line each

from __future__ import annotations

import json

import pytest

from luthier.content import ToolCall, ToolSignature
from luthier.models.adaptation import Decoding
from luthier.models.tool_formats import call_format, format_of, listing, tool_grammar
from luthier.models.tool_formats.call_format import FORMATS
from luthier.models.tool_formats.shape import UNREADABLE

NAMES = ("get_price", "sql")
SIGNATURES = (
    ToolSignature(
        "get_price",
        "Tells a price.",
        {
            "type": "object",
            "properties": {
                "item": {"type": "string", "description": "which"},
                "count": {"type": "integer"},
                "currency": {"enum": ["EUR", "USD"]},
            },
            "required": ["item"],
        },
    ),
    ToolSignature("sql", "Asks.", {"type": "object", "properties": {"q": {"type": "string"}}}),
)
BOTH = (
    ToolCall("get_price", {"item": 'an "oak" desk; 2)', "count": 2}),
    ToolCall("sql", {"q": "SELECT '}'\n"}),
)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_what_a_form_writes_it_reads(name) -> None:
    form = FORMATS[name]
    for calls in (BOTH, BOTH[:1]):
        found = form.read(form.write(calls), NAMES)
        assert (found.text, found.calls) == ("", calls)
    for answer in ("It costs 20 EUR.", "", "{} is empty", "[1] see there", "get price"):
        found = form.read(answer, NAMES)
        assert (found.text, found.calls) == (answer, ())


@pytest.mark.parametrize(
    ("name", "text", "calls"),
    [
        ("hermes", 'I look.\n<tool_call>{"name": "sql", "arguments": {"q": "1"}}', [("sql", {"q": "1"})]),
        ("hermes", "<tool_call>\n{'name': 'sql', 'arguments': {'q': None}}\n</tool_call>", [("sql", {"q": None})]),
        ("hermes", '<tool_call>{"name": "sql", "arguments": "{\\"q\\": \\"1\\"}"}</tool_call>', [("sql", {"q": "1"})]),
        (
            "hermes",
            "<tool_call>\n<function=get_price>\n<parameter=item>\noak desk\n</parameter>\n"
            "<parameter=count>\n2\n</parameter>\n</function>\n</tool_call>",
            [("get_price", {"item": "oak desk", "count": 2})],
        ),
        ("hermes", "<tool_call>{broken</tool_call>", [(UNREADABLE, {})]),
        ("llama", '<|python_tag|>{"name": "sql", "parameters": {"q": "1"}}', [("sql", {"q": "1"})]),
        ("llama", '{"name": "sql", "parameters": {}}; {"name": "sql", "arguments": {"q": "2"}}', [("sql", {}), ("sql", {"q": "2"})]),
        ("llama", '<function=sql>{"q": "1"}</function>', [("sql", {"q": "1"})]),
        ("llama", '{"name": "somebody", "age": 3}', []),
        ("llama", '{"name": "sql", "parameters": {"q": ', [(UNREADABLE, {})]),
        ("mistral", '[TOOL_CALLS] [{"name": "sql", "arguments": {"q": "1"}, "id": "abc"}]', [("sql", {"q": "1"})]),
        ("mistral", '[{"name": "sql", "arguments": {"q": "1"}}]', [("sql", {"q": "1"})]),
        ("mistral", '[TOOL_CALLS]sql[ARGS]{"q": "1"}[TOOL_CALLS]get_price[ARGS]{"item": "x"}', [("sql", {"q": "1"}), ("get_price", {"item": "x"})]),
        ("mistral", 'sql{"q": "1"}', [("sql", {"q": "1"})]),
        ("gemma", "```tool_code\nget_price(item='oak', count=2)\n```", [("get_price", {"item": "oak", "count": 2})]),
        ("gemma", "```tool_code\nprint(sql(q='1'))\n```", [("sql", {"q": "1"})]),
        ("gemma", '```json\n{"name": "sql", "parameters": {"q": "1"}}\n```', [("sql", {"q": "1"})]),
        ("gemma", "```tool_code\n__import__('os').system('id')\n```", []),
        ("gemma-tags", "<start_function_call>call:get_price{item:<escape>a, b: {c}<escape>,count:2}<end_function_call>", [("get_price", {"item": "a, b: {c}", "count": 2})]),
        ("plain", 'sql({"q": "1"}) and more', [("sql", {"q": "1"})]),
        ("plain", 'sql({"q": ', [(UNREADABLE, {})]),
        ("json", '{"name": "sql", "arguments": {"q": "1"}}', [("sql", {"q": "1"})]),
    ],
)  # fmt: skip
def test_what_models_of_a_family_write_is_read(name, text, calls) -> None:
    found = call_format(name).read(text, NAMES)
    assert [(c.name, dict(c.arguments)) for c in found.calls] == calls


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (None, "plain"),
        ("{{ messages[0].content }}", "plain"),
        ("{% if tools %}<tools></tools><tool_call>", "hermes"),
        ("{% if tools %}[AVAILABLE_TOOLS]…[TOOL_CALLS]", "mistral"),
        ("Environment: ipython{% if tools %}<|python_tag|>", "llama"),
        ("<start_of_turn>{{ role }}", "gemma"),
        ("<start_of_turn>{% if tools %}<start_function_call>", "gemma-tags"),
    ],
)
def test_a_template_says_which_form_its_model_writes(template, name) -> None:
    assert format_of(template) == name


def accepted(grammar: str, text: str) -> bool:
    """Whether a text is one of the grammar's, by bytes."""
    import llguidance

    class Bytes:
        eos_token_id, bos_token_id = 256, None
        tokens = (*(bytes([i]) for i in range(256)), b"<eos>")
        special_token_ids = (256,)

        def __call__(self, text):
            return list(text)

    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Bytes()), n_vocab=257)
    matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


@pytest.mark.parametrize("name", sorted(n for n, f in FORMATS.items() if f.rules))
def test_the_grammar_takes_calls_that_fit_and_answers_and_nothing_else(name) -> None:
    form = FORMATS[name]
    grammar = tool_grammar(form, SIGNATURES, Decoding(), ())
    assert grammar is not None

    def written(*calls):
        return form.write(calls).removeprefix("[TOOL_CALLS] ")

    good = ToolCall("get_price", {"item": "oak", "count": 2, "currency": "EUR"})
    for text in (written(good), written(good, ToolCall("sql", {"q": "1"})), "It costs 20.", " 20"):
        assert accepted(grammar, text), text
    for call in (
        ToolCall("get_price", {"count": 2}),
        ToolCall("get_price", {"item": "oak", "count": "two"}),
        ToolCall("get_price", {"item": "oak", "currency": "GBP"}),
        ToolCall("get_price", {"item": "oak", "other": 1}),
        ToolCall("get_prices", {"item": "oak"}),
    ):
        if name == "plain" and call.name == "get_prices":
            continue  # no tool's name: an answer
        assert not accepted(grammar, written(call)), call
    assert not accepted(grammar, written(good)[:-4])


def test_an_answer_under_a_constraint_keeps_it() -> None:
    form = call_format("plain")
    for decoding, good, bad in (
        (Decoding(regex="[0-9]+"), "42", "forty"),
        (Decoding(labels=("yes", "no")), "yes", "maybe"),
        (Decoding(json_schema={"type": "object", "required": ["a"]}), '{"a": 1}', "42"),
    ):
        grammar = tool_grammar(form, SIGNATURES, decoding, decoding.labels)
        assert grammar is not None
        assert accepted(grammar, good)
        assert accepted(grammar, 'sql({"q": "1"})')
        assert not accepted(grammar, bad)


def test_tools_in_words_name_arguments_and_choices() -> None:
    words = listing(SIGNATURES, call_format("plain"))
    assert (
        "- get_price(item: string (which), count?: integer, currency?: EUR | USD): Tells" in words
    )
    assert "NAME({…})" in words
    assert "- count (integer, optional):" in listing(SIGNATURES, call_format("json"))


def test_a_schema_that_no_grammar_can_follow_leaves_the_check_to_the_call() -> None:
    odd = ToolSignature("odd", "", {"type": "object", "properties": {"a": {"$ref": "http://x/y"}}})
    assert tool_grammar(call_format("plain"), (odd,), Decoding(), ()) is None
    assert json.loads(json.dumps(odd.parameters))
