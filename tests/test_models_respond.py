"""One way to answer: `respond`, `stream`, `ask` and `answer` are the same code."""

from __future__ import annotations

from typing import Any

import pytest

import luthier
from luthier.content import Conversation, Image, Message, Text, ToolCall, ToolResult
from luthier.errors import CapabilityError, UserError
from luthier.models.adaptation import Decoding
from luthier.models.answering import render_for
from luthier.models.backend import ModelFacts
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt, PromptFormat
from luthier.records import Capability, Example

PROMPT = Prompt(
    instruction="Route the message.",
    labels=("billing", "delivery"),
    demonstrations=(Demonstration("my card was charged", "billing"),),
    format=PromptFormat(target_name="Queue"),
)
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "where is my parcel"},
    {"role": "assistant", "content": "delivery"},
    {"role": "user", "content": "and my card?"},
]
CHAT = ModelFacts(has_chat_template=True)
PICTURE = Image(data=b"\x89PNG")


def _rendered(model: Model, asked: Any, context: str | None = None) -> Any:
    conversation = asked if isinstance(asked, tuple) else Conversation.of(asked)
    return render_for(model, [Example("", conversation, "", context=context)])[0]


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(labels=("billing", "delivery"))])
@pytest.mark.parametrize("facts", [CHAT, ModelFacts(has_chat_template=True, prefers_chat=True)])
def test_a_single_question_is_asked_in_one_way_however_it_is_given(
    decoding: Decoding, facts: ModelFacts
) -> None:
    model = Model(FakeBackend(facts=facts)).adapt(prompt=PROMPT, decoding=decoding)
    text = "the card was charged twice"
    expected = model.answer([Example("1", text, "", context="a passage")])[0]
    turn = {"role": "user", "content": text}
    for asked in (text, (Text(text),), [turn], [Message("user", text)], Conversation.of([turn])):
        assert model.respond(asked, context="a passage") == expected
        assert "".join(model.stream(asked, context="a passage")) == expected.text
    assert model.ask(text, context="a passage") == expected.answer == "billing"


def test_several_turns_go_through_the_chat_template_of_a_base_that_has_one() -> None:
    model = Model(FakeBackend(facts=CHAT)).adapt(prompt=PROMPT)
    messages = _rendered(model, TURNS, context="Cards are billed monthly.").messages
    assert [m.role for m in messages] == ["system", *["user", "assistant"] * 2, "user"]
    assert messages[0].text == "Route the message.\n\nLabels: billing, delivery\n\nBe brief."
    assert [m.text for m in messages[1:5]] == [
        "my card was charged", "billing", "where is my parcel", "delivery",
    ]  # fmt: skip
    assert messages[5].text == "Passage: Cards are billed monthly.\n\nand my card?"


def test_several_turns_are_plain_blocks_for_a_base_without_a_template() -> None:
    model = Model(FakeBackend(facts=ModelFacts())).adapt(prompt=PROMPT)
    rendered = _rendered(model, TURNS, context="Cards are billed monthly.")
    assert rendered.answer_prefix == " "
    assert rendered.text == (
        "Route the message.\n\nLabels: billing, delivery\n\nBe brief.\n\n"
        "Input: my card was charged\nQueue: billing\n\n"
        "Input: where is my parcel\nQueue: delivery\n\n"
        "Passage: Cards are billed monthly.\nInput: and my card?\nQueue:"
    )
    plain = Prompt(format=PromptFormat(style="plain"))
    assert _rendered(Model(FakeBackend(facts=CHAT)).adapt(prompt=plain), TURNS).text


def test_turns_and_questions_share_a_batch_of_scored_labels() -> None:
    """A prompt of turns and a plain one differ in what stands before the label."""
    seen = []

    class Recording(FakeBackend):
        def score(self, requests: Any, adaptation: Any) -> Any:
            seen.extend(r.continuations for r in requests)
            return super().score(requests, adaptation)

    model = Model(Recording(facts=CHAT)).adapt(prompt=PROMPT, decoding=Decoding(labels=("a", "b")))
    asked = [Example("1", "x", ""), Example("2", Conversation.of(TURNS), "")]
    assert [r.parsed in ("a", "b") for r in model.answer(asked)] == [True, True]
    assert seen == [(" a", " b"), ("a", "b")]


def test_nano_answers_a_conversation_through_its_template() -> None:
    model = luthier.load("nano")
    rendered = _rendered(model, TURNS)
    with model.backend.session(model.adaptation) as session:
        text = session.text(rendered)
    assert text.startswith(
        "<|bos|><|system|>\nBe brief.<|end|>\n<|user|>\nwhere is my parcel<|end|>"
    )
    assert text.endswith("<|user|>\nand my card?<|end|>\n<|assistant|>\n")
    response = model.respond(TURNS)
    assert response.text
    assert response.usage.generated_tokens > 0
    assert "".join(model.stream(TURNS)) == response.text
    labelled = model.adapt(decoding=Decoding(labels=("billing", "delivery")))
    assert labelled.respond(TURNS).parsed in ("billing", "delivery")


@pytest.mark.parametrize("turns", [[], TURNS[:3], TURNS[:1]])
def test_a_conversation_that_leaves_nothing_to_answer_is_refused(turns: Any) -> None:
    with pytest.raises(UserError, match="nothing to answer"):
        Model(FakeBackend()).respond(turns)


def test_what_is_no_conversation_is_named() -> None:
    with pytest.raises(ValueError, match="robot"):
        Conversation.of([{"role": "robot", "content": "x"}])
    with pytest.raises(TypeError, match="parts"):
        Conversation.of([{"role": "user", "content": [{"type": "text"}]}])
    with pytest.raises(TypeError, match="not int"):
        Conversation.of([1])  # type: ignore[list-item]


def test_a_picture_is_refused_in_words_by_a_backend_of_text() -> None:
    asked = (Text("What is this?"), PICTURE)
    with pytest.raises(CapabilityError, match="fake reads text only"):
        Model(FakeBackend()).respond(asked)
    with pytest.raises(CapabilityError, match="holds a picture"):
        Model(FakeBackend()).answer([Example("1", asked, "")])


def test_a_picture_reaches_a_backend_that_reads_pictures() -> None:
    backend = FakeBackend(capabilities=frozenset({Capability.TEXT, Capability.IMAGES}))
    model = Model(backend).adapt(prompt=PROMPT)
    rendered = _rendered(model, (Text("What is this?"), PICTURE), context="A hint.")
    assert rendered.messages[-1].content == (
        Text("Passage: A hint."), Text("What is this?"), PICTURE,
    )  # fmt: skip
    assert model.respond((Text("What is this?"), PICTURE)).text


def test_a_stream_arrives_in_pieces_and_stops_where_the_answer_stops() -> None:
    model = Model(FakeBackend(lambda _: "one two three\nfour"))
    assert list(model.stream("x")) == ["one", " two", " three"]
    assert model.respond("x").text == "one two three"
    voting = model.adapt(decoding=Decoding(votes=3, temperature=0.5))
    assert list(voting.stream("x")) == ["one two three"]


def test_the_reason_why_an_answer_ended() -> None:
    model = Model(FakeBackend(lambda _: "one two three"))
    assert model.respond("x").finish_reason == "stop"
    cut = model.adapt(decoding=Decoding(max_new_tokens=2)).respond("x")
    assert (cut.text, cut.finish_reason) == ("one two", "length")


# The turn loop.


def _adder(prompt: str) -> Any:
    """Asks for a sum first, and answers with the result once it stands in the prompt."""
    if "Result: 5" in prompt:
        return "The sum is 5."
    return ToolCall("add", {"a": 2, "b": 3}, id="call-1")


def test_a_tool_is_run_and_the_model_goes_on_with_its_result() -> None:
    model = Model(FakeBackend(_adder))
    response = model.respond("What is 2 + 3?", tools={"add": lambda a, b: a + b})
    assert (response.answer, response.finish_reason, response.tool_calls) == (
        "The sum is 5.", "stop", (),
    )  # fmt: skip
    calling, result = response.turns
    assert calling == Message("assistant", (ToolCall("add", {"a": 2, "b": 3}, id="call-1"),))
    assert result == Message("tool", (ToolResult("call-1", "5"),))
    assert response.usage.calls == 2
    assert response.usage.prompt_tokens > model.respond("What is 2 + 3?").usage.prompt_tokens


def test_the_turns_of_a_response_can_be_gone_on_from() -> None:
    model = Model(FakeBackend(_adder))
    response = model.respond("What is 2 + 3?", tools={"add": lambda a, b: a + b})
    asked = Message("user", "What is 2 + 3?")
    assert model.respond([asked, *response.turns]).answer == response.answer


def test_without_tools_calls_are_returned_and_not_run() -> None:
    response = Model(FakeBackend(_adder)).respond("What is 2 + 3?")
    assert response.tool_calls == (ToolCall("add", {"a": 2, "b": 3}, id="call-1"),)
    assert (response.finish_reason, response.parsed, response.turns) == ("tool-calls", None, ())


def test_the_loop_ends_at_the_most_steps() -> None:
    ran = []

    def again() -> str:
        ran.append(1)
        return "again"

    model = Model(FakeBackend(lambda _: (ToolCall("again", {}), ToolCall("again", {}))))
    response = model.respond("x", tools={"again": again}, max_steps=3)
    assert len(ran) == 4, "two calls in each of the first two steps; those of the last are returned"
    assert len(response.tool_calls) == 2
    assert (response.finish_reason, response.usage.calls) == ("tool-calls", 3)
    with pytest.raises(UserError, match="max_steps"):
        model.respond("x", tools={}, max_steps=0)


def test_a_tool_that_fails_or_is_not_there_is_told_to_the_model() -> None:
    def divide(a: int, b: int) -> float:
        return a / b

    def reply(prompt: str) -> Any:
        if "ZeroDivisionError" not in prompt:
            return ToolCall("divide", {"a": 1, "b": 0}, id="1")
        if "no tool 'multiply'" not in prompt:
            return ToolCall("multiply", {}, id="2")
        return "done"

    response = Model(FakeBackend(reply)).respond("x", tools={"divide": divide})
    assert response.answer == "done"
    results = [part for m in response.turns if m.role == "tool" for part in m.content]
    assert all(isinstance(r, ToolResult) and r.failed for r in results)
    assert "Tools: divide." in results[1].text  # type: ignore[union-attr]


def test_results_are_texts_or_json() -> None:
    def reply(prompt: str) -> Any:
        return "done" if "Result:" in prompt else ToolCall("look", {})

    response = Model(FakeBackend(reply)).respond("x", tools={"look": lambda: {"found": ["a", 1]}})
    assert response.turns[1].text == '{"found": ["a", 1]}'


def test_a_call_is_readable_for_a_model_of_text() -> None:
    turns = (
        Message("user", "What is 2 + 3?"),
        Message("assistant", (Text("Let me see."), ToolCall("add", {"a": 2, "b": 3}))),
        Message("tool", (ToolResult("", "5"),)),
    )
    assert _rendered(Model(FakeBackend()), Conversation(turns)).text == (
        'Input: What is 2 + 3?\nLabel: Let me see.\nadd({"a": 2, "b": 3})\nResult: 5\nLabel:'
    )
