"""A hundred conversations with tools at once, a server killed in the middle; and what the loop
itself costs."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("mcp")

from luthier.content import ToolCall
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Example
from luthier.tools import ToolLimits, open_toolbox

SERVERS = Path(__file__).parent / "mcp_servers.py"


def adder(prompt: str):
    """Adds by the tool, and answers with its result, or with why there is none."""
    question = prompt.partition("add ")[2].split()[0]
    if "Result: " in prompt:
        return prompt.rpartition("Result: ")[2].partition("\n")[0]
    a, b = map(int, question.split("+"))
    return ToolCall("add", {"a": a, "b": b})


def test_a_hundred_conversations_end_though_the_server_is_killed() -> None:
    address = f"mcp:{sys.executable} {SERVERS} good"
    with open_toolbox([address], limits=ToolLimits(call_seconds=60)) as box:
        model = Model(FakeBackend(adder))
        barrier = threading.Barrier(20, timeout=60)
        killed = []

        def ask(n: int) -> str:
            if n < 20:
                barrier.wait()
            if n == 50:
                killed.append(box.start("").run([ToolCall("die", {})])[0].failed)
            return model.respond(f"add {n}+{n}", tools=box).answer

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask, range(100), timeout=240))
    assert killed == [True]
    right = sum(answer == str(2 * n) for n, answer in enumerate(answers))
    assert all(answer for answer in answers), "each ends with an answer or a clear error"
    others = [a for n, a in enumerate(answers) if a != str(2 * n)]
    assert all("server" in a.lower() or "gone" in a.lower() for a in others), others
    assert right >= 60


def test_a_hundred_in_one_batch_share_their_steps() -> None:
    calls = []

    def reply(prompt):
        calls.append(prompt)
        return adder(prompt)

    model = Model(FakeBackend(reply))
    from luthier.models.tool_loop import answer_with_tools
    from luthier.tools import Toolbox

    box = Toolbox.of({"add": lambda a, b: a + b})
    examples = [Example(str(n), f"add {n}+1", "") for n in range(100)]
    responses = answer_with_tools(model, examples, box, seed=0)
    assert [r.answer for r in responses] == [str(n + 1) for n in range(100)]
    assert len(calls) == 200
    assert all(len(r.steps) == 1 for r in responses)


def test_limits_of_the_whole_response_end_it_in_words() -> None:
    def again(prompt):
        return ToolCall("add", {"a": len(prompt), "b": 1})

    from luthier.tools import Toolbox

    box = Toolbox.of({"add": lambda a, b: a + b})
    for limits, word in (
        (ToolLimits(steps=3), "3 steps"),
        (ToolLimits(tokens=10), "tokens are used"),
        (ToolLimits(money=1e-9, prices=(1.0, 1.0)), "is spent"),
        (ToolLimits(seconds=1e-9), "seconds have passed"),
    ):
        response = Model(FakeBackend(again)).respond("x", tools=box.under(limits=limits))
        assert word in response.stopped
        assert response.finish_reason == "tool-calls"
        assert response.tool_calls


def test_luthier_answers_the_client_of_the_sdk(tmp_path) -> None:
    """`luthier mcp` under the SDK's own client."""
    import anyio
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters

    source = str(Path(__file__).parents[1] / "src")
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "luthier", "mcp", "--tool", "calculator"],
        env={"PYTHONPATH": source, "HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )

    async def talk():
        async with Client(parameters) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            value = await client.call_tool("calculator", {"expression": "17 % of 2,350"})
            wrong = await client.call_tool("ask_model", {"model": "fake", "question": ""})
            said = await client.call_tool("ask_model", {"model": "fake", "question": "hello you"})
            missing = await client.call_tool("read_report", {"run": str(tmp_path)})
            return names, value, wrong, said, missing

    names, value, wrong, said, missing = anyio.run(talk)
    assert names == ["search_index", "ask_model", "read_report", "compare", "calculator"]
    assert value.content[0].text == "399.5"
    assert wrong.is_error
    assert not said.is_error
    assert missing.is_error
    assert "Traceback" not in missing.content[0].text
