"""Tools: names, arguments, permissions, limits, secrets; what a tool may do to a response."""

from __future__ import annotations

import threading
import time

import pytest

from luthier.content import ToolCall
from luthier.errors import UserError
from luthier.tools import Permissions, Tool, Toolbox, ToolLimits, ToolSource, open_toolbox, tool_of
from luthier.tools.arguments import checked_schema_of, faults
from luthier.tools.secret_texts import redacted

NUMBER = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0}},
    "required": ["n"],
}


def a_tool(name="count", run=lambda arguments: arguments["n"], **facts) -> Tool:
    return Tool(name, "Counts.", NUMBER, run, **facts)


def box_of(*tools, **settings) -> Toolbox:
    return Toolbox([ToolSource(tuple(tools))], **settings)


def call(name="count", **arguments) -> ToolCall:
    return ToolCall(name, arguments, "id")


def run_one(box: Toolbox, one: ToolCall, asked=""):
    return box.start(asked).run([one])[0]


def test_arguments_that_do_not_fit_the_schema_are_told_and_not_run() -> None:
    ran = []
    box = box_of(a_tool(run=lambda arguments: ran.append(arguments)))
    for arguments, word in (
        ({}, "'n' is a required"),
        ({"n": -1}, "minimum"),
        ({"n": "x"}, "integer"),
    ):
        result = run_one(box, call(**arguments))
        assert result.failed
        assert word in result.text
    assert not ran


def test_calls_of_one_step_run_side_by_side_and_keep_their_order() -> None:
    barrier = threading.Barrier(3, timeout=20)

    def meet(arguments):
        barrier.wait()
        return arguments["n"]

    results = box_of(a_tool(run=meet)).start("").run([call(n=n) for n in (3, 1, 2)])
    assert [r.text for r in results] == ["3", "1", "2"]
    assert all(r.seconds is not None for r in results)


def test_a_tool_that_hangs_is_given_up() -> None:
    stop = threading.Event()
    box = box_of(a_tool(run=lambda _: stop.wait(60)), limits=ToolLimits(call_seconds=0.2))
    result = run_one(box, call(n=1))
    stop.set()
    assert result.failed
    assert "given up" in result.text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"\x00\x01\x02", "(3 bytes that are no text)"),
        ("x" * 50_000_000, "[cut: 50,000,000 characters in all]"),
        ({"a": [1, "é"]}, '{"a": [1, "é"]}'),
        ("a\x1b[31mred\x00", "a [31mred "),
        (float("nan"), "NaN"),
    ],
)
def test_what_a_tool_returns_becomes_a_short_printable_text(value, said) -> None:
    result = run_one(box_of(a_tool(run=lambda _: value)), call(n=1))
    assert said in result.text
    assert len(result.text) < 9_000
    assert not result.failed


def test_what_fails_is_told_whatever_it_raises() -> None:
    def leave(_):
        raise SystemExit("gone")

    assert "SystemExit: gone" in run_one(box_of(a_tool(run=leave)), call(n=1)).text
    assert "no tool 'other'" in run_one(box_of(a_tool()), call("other")).text


def test_what_changes_things_needs_a_permission() -> None:
    ran, asked = [], []
    tool = a_tool("book", run=lambda a: ran.append(a) or "booked", effects=True)
    refused = run_one(box_of(tool), call("book", n=1))
    assert refused.failed
    assert "changes things" in refused.text
    assert not ran

    def confirm(found, arguments, why):
        asked.append((found.name, dict(arguments), why))
        return len(asked) > 1

    box = box_of(tool, permissions=Permissions(confirm=confirm))
    assert "said no" in run_one(box, call("book", n=2)).text
    assert run_one(box, call("book", n=2)).text == "booked"
    assert asked[0] == ("book", {"n": 2}, "book changes things")
    allowed = box_of(tool, permissions=Permissions(frozenset({"book"})))
    assert run_one(allowed, call("book", n=3)).text == "booked"
    assert ran == [{"n": 2}, {"n": 3}]


def test_private_data_do_not_leave_without_a_permission() -> None:
    text = {"type": "object", "properties": {"q": {"type": "string"}}}
    secret = Tool("rows", "", {}, lambda _: "card 4929", private=True)
    search = Tool("search", "", text, lambda a: f"found {a['q']}", outward=True)
    session = box_of(secret, search).start("Who sells oak desks?")
    assert session.run([call("search", q="desks of oak")])[0].text == "found desks of oak"
    session.run([call("rows")])
    refused = session.run([call("search", q="card 4929")])[0]
    assert refused.failed
    assert "private data" in refused.text
    assert session.run([call("search", q="oak desks")])[0].text == "found oak desks"


def test_limits_of_calls_and_of_repetition() -> None:
    session = box_of(a_tool(), limits=ToolLimits(calls=4, repeats=2)).start("")
    texts = [session.run([call(n=n)])[0].text for n in (1, 1, 1, 2, 3)]
    assert texts[:2] == ["1", "1"]
    assert "was made before" in texts[2]
    assert texts[3] == "2"
    assert "No more calls" in texts[4]
    for wrong in ({"steps": 0}, {"calls": 0}, {"seconds": 0}, {"tokens": 0}, {"money": 1.0}):
        with pytest.raises(UserError):
            ToolLimits(**wrong)


def test_tools_that_call_tools_are_stopped() -> None:
    box = box_of(a_tool(run=lambda a: run_one(box, call(n=a["n"] + 1)).text))
    assert "nested too deeply" in run_one(box, call(n=0)).text


def test_one_name_twice_is_told_apart() -> None:
    box = Toolbox([ToolSource((a_tool(origin="a"),)), ToolSource((a_tool(origin="b"),))])
    assert [t.name for t in box.tools] == ["count", "count_2"]
    assert box.notes == ("count is there twice: that of a keeps the name, that of b is count_2.",)


def test_secrets_reach_no_result(monkeypatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "s3cret-value-1")
    box = box_of(a_tool(run=lambda _: "key s3cret-value-1, postgresql://bob:hunter22@db/x"))
    assert run_one(box, call(n=1)).text == "key [redacted], postgresql://[redacted]@db/x"

    def leak(_):
        raise ValueError("Authorization: Bearer abcdefgh12345")

    assert "abcdefgh" not in run_one(box_of(a_tool(run=leak)), call(n=1)).text
    assert redacted("s3cret-value-1") == "[redacted]"
    with pytest.raises(UserError, match="password"):
        open_toolbox(["sql:postgresql://bob:hunter22@db/x"])


def test_a_function_becomes_a_tool_by_its_signature() -> None:
    def price(item: str, count: int = 1, *, kinds: list[str] | None = None) -> float:
        """The price of an item.

        More.
        """
        return count * 2.5

    tool = tool_of(price)
    assert (tool.name, tool.description) == ("price", "The price of an item.")
    assert tool.parameters["required"] == ["item"]
    assert tool.parameters["properties"]["count"] == {"type": "integer"}
    assert tool.run({"item": "oak", "count": 2}) == 5.0
    assert "additionalProperties" in str(
        faults({"item": "x", "other": 1}, tool.parameters)
    ) or faults({"item": "x", "other": 1}, tool.parameters)


def test_schemas_that_lie_are_refused() -> None:
    for bad in (
        {"type": "array"},
        {"type": "object", "properties": {"a": {"type": "nonsense"}}},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x.json"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}},
        "text",
    ):
        with pytest.raises(UserError):
            checked_schema_of(bad, of="x")
    assert checked_schema_of(None, of="x") == {"type": "object", "properties": {}}


def test_addresses_that_name_no_tools_are_refused_before_any_is_opened(monkeypatch) -> None:
    with pytest.raises(UserError, match="There are no tools 'calculater'") as found:
        open_toolbox(["calculator", "calculater"])
    assert "calculator" in str(found.value.next_step)
    with pytest.raises(UserError, match="NOT_SET_HERE is not set"):
        open_toolbox(["knowledge:${NOT_SET_HERE}"])


def test_the_time_of_a_whole_response_is_a_limit() -> None:
    limits = ToolLimits(seconds=0.3, call_seconds=30)
    box = box_of(a_tool(run=lambda _: time.sleep(20)), limits=limits)
    assert "given up" in run_one(box, call(n=1)).text
