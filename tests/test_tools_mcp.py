"""MCP: servers of other makers work unchanged; servers that misbehave end in words."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("mcp")

from luthier.content import ToolCall
from luthier.context import WorkContext, working
from luthier.errors import UserError
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.tools import Permissions, ToolLimits, open_toolbox
from luthier.tools.mcp_client import mcp_connection

SERVERS = Path(__file__).parent / "mcp_servers.py"
GOOD = f"mcp:{sys.executable} {SERVERS} good"


def call(box, tool, **arguments):
    return box.start("").run([ToolCall(tool, arguments)])[0]


def test_tools_resources_prompts_progress_and_permissions() -> None:
    seen = []
    with open_toolbox([GOOD]) as box:
        assert call(box, "add", a=2, b=3).text == "5"
        refused = call(box, "note", text="x")
        assert refused.failed
        assert "changes things" in refused.text
        allowed = box.under(permissions=Permissions(frozenset({"note"})))
        assert call(allowed, "note", text="x").text == "1 notes"
        assert "shop://hours" in box.get("read_resource").description
        assert call(box, "read_resource", uri="shop://hours").text == "9 to 17"
        assert call(box, "get_prompt", name="greet", arguments={"name": "Bo"}).text == (
            "Say hello to Bo."
        )
        with working(WorkContext(progress=lambda *step: seen.append(step))):
            assert call(box, "slow", seconds=0.2).text == "done"
        assert (3.0, 4.0, "working") in seen
        assert "no text" in call(box, "picture").text or call(box, "picture").text
        long = call(box, "flood", size=2_000_000)
        assert "2,000,000" in long.text or len(long.text) < 9_000


def test_a_call_that_takes_too_long_is_cancelled_and_the_server_goes_on() -> None:
    with open_toolbox([GOOD], limits=ToolLimits(call_seconds=0.5)) as box:
        assert "given up" in call(box, "slow", seconds=60).text
        patient = box.under(limits=ToolLimits(call_seconds=30))
        assert call(patient, "add", a=1, b=1).text == "2"


def test_a_server_that_dies_is_started_again(tmp_path) -> None:
    address = f"mcp:ONCE={tmp_path / 'flag'} {sys.executable} {SERVERS} good"
    with open_toolbox([address]) as box:
        assert call(box, "once").text == "alive again"
        gone = call(box, "die")
        assert gone.failed
        assert "gone" in gone.text
        assert call(box, "add", a=1, b=2).text == "3"


@pytest.mark.parametrize(("kind", "word"), [("dead", "no licence"), ("silent", "did not answer")])
def test_servers_that_do_not_begin_are_told(kind, word, monkeypatch) -> None:
    monkeypatch.setattr(mcp_connection, "START_SECONDS", 4.0)
    monkeypatch.setenv("SHOP_API_KEY", "s3cret-value-1")
    with pytest.raises(UserError, match="cannot be used") as found:
        open_toolbox([f"mcp:{sys.executable} {SERVERS} {kind}"])
    if kind == "silent":
        assert word in str(found.value)
    assert "s3cret" not in str(found.value)


def test_schemas_that_lie_are_left_out_and_names_are_told_apart() -> None:
    with open_toolbox([f"mcp:{sys.executable} {SERVERS} liar"]) as box:
        assert [t.name for t in box.tools] == ["twice", "odd_name"]
        assert len(box.notes) == 3
        assert call(box, "twice").text == "ok"


def test_secrets_are_given_by_name_and_reach_no_text(monkeypatch) -> None:
    monkeypatch.setenv("SHOP_API_KEY", "s3cret-value-1")
    with open_toolbox(
        [f"mcp:SHOP_API_KEY=${{SHOP_API_KEY}} {sys.executable} {SERVERS} good"]
    ) as box:
        assert call(box, "secret").text == "the key is [redacted]"
        assert "s3cret" not in box.tools[0].origin
    with open_toolbox([GOOD]) as box:
        assert call(box, "secret").text == "the key is unset"


def test_addresses_of_no_server() -> None:
    for address, word in (
        ("mcp:", "names no server"),
        ("mcp:no-such-program-here --x", "no program"),
        ("mcp:'open", "no command"),
        ("mcp:http://127.0.0.1:9/mcp", "cannot be used"),
    ):
        with pytest.raises(UserError, match=word):
            open_toolbox([address])


def test_a_server_over_http(tmp_path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, str(SERVERS), "http", str(port)], stderr=-3, stdout=-3
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        with open_toolbox([f"mcp:http://127.0.0.1:{port}/mcp"]) as box:
            assert call(box, "add", a=20, b=3).text == "23"
            server.kill()
            server.wait()
            assert call(box, "add", a=1, b=1).failed
    finally:
        server.kill()
        server.wait()


def test_a_python_server_of_another_maker() -> None:
    pytest.importorskip("mcp_server_time")
    reply = {
        "Time in Tokyo": ToolCall(
            "convert_time",
            {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
        )
    }

    def answer(prompt):
        return "It is 21:00." if "T21:00:00+09:00" in prompt else reply["Time in Tokyo"]

    with open_toolbox([f"mcp:{sys.executable} -m mcp_server_time"]) as box:
        response = Model(FakeBackend(answer)).respond("Time in Tokyo at noon UTC?", tools=box)
    assert response.answer == "It is 21:00."
    assert [step.name for step in response.steps] == ["convert_time"]


@pytest.mark.slow
def test_a_node_server_of_another_maker() -> None:
    """With Node and a registry: `npx` fetches the server the first time."""
    package = "@modelcontextprotocol/server-everything@2026.8.31"
    if shutil.which("npx") is None:
        pytest.skip("needs Node (npx)")
    if (
        shutil.which("npm") is None
        or subprocess.run(
            ["npm", "view", package, "version"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs a registry of npm packages that has server-everything")
    with open_toolbox([f"mcp:npx -y {package}"]) as box:
        assert call(box, "echo", message="grüß dich").text == "Echo: grüß dich"
        assert "42" in call(box, "get-sum", a=40, b=2).text
        assert "no text" in call(box, "get-tiny-image").text
        assert call(box, "read_resource", uri="demo://resource/static/document/features.md").text
