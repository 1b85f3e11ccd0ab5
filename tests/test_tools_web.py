"""OpenAPI services, the browser and web search; and that no request goes where it must not."""

from __future__ import annotations

import json
import socket

import pytest

pytest.importorskip("httpcore")

from luthier.content import ToolCall
from luthier.errors import UserError
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.tools import Permissions, open_toolbox
from luthier.tools.toolbox import ToolFailure
from luthier.tools.web import address_guard
from luthier.tools.web.address_guard import is_public
from luthier.tools.web.guarded_http import GuardedHttp
from tests.web_servers import BOOKING, json_reply, page, serving


def call(box, tool, **arguments):
    return box.start("").run([ToolCall(tool, arguments)])[0]


def spec_file(folder, web, **changes):
    path = folder / "rooms.json"
    path.write_text(json.dumps({**BOOKING, "servers": [{"url": web.url}], **changes}))
    return f"openapi:{path}"


def rooms(asked):
    if asked.method == "POST":
        if asked.headers.get("x-key") != "s3cret-value-1":
            return json_reply({"error": "who are you?"}, 401)
        guest = json.loads(asked.body)["guest"]
        return json_reply({"booked": asked.path.split("/")[2], "guest": guest})
    return json_reply([{"room": 7, "key": asked.headers.get("x-key")}])


def test_operations_become_tools_and_a_booking_goes_through_after_confirmation(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("LUTHIER_OPENAPI_KEY", "s3cret-value-1")
    asked = []

    def confirm(tool, arguments, why):
        asked.append((tool.name, dict(arguments)))
        return True

    def reply(prompt):
        if '"booked": "7"' in prompt:
            return "Room 7 is booked."
        if '"room": 7' in prompt:
            return ToolCall("bookRoom", {"room": 7, "guest": "Ada"})
        return ToolCall("listRooms", {"day": "2026-06-01", "beds": 2})

    with serving(rooms) as web:
        box = open_toolbox([spec_file(tmp_path, web)], permissions=Permissions(confirm=confirm))
        response = Model(FakeBackend(reply)).respond("Book a room for Ada on 1 June.", tools=box)
        box.close()
    assert response.answer == "Room 7 is booked."
    assert asked == [("bookRoom", {"room": 7, "guest": "Ada"})]
    assert [s.name for s in response.steps] == ["listRooms", "bookRoom"]
    assert web.asked[0].query == {"day": ["2026-06-01"], "beds": ["2"]}
    assert "x-key" not in web.asked[0].headers
    assert "s3cret" not in repr(response)


def test_without_confirmation_nothing_is_booked_and_arguments_are_held_to_their_types(
    tmp_path,
) -> None:
    with serving(rooms) as web, open_toolbox([spec_file(tmp_path, web)]) as box:
        assert [t.name for t in box.tools] == ["listRooms", "bookRoom"]
        assert len(box.notes) == 3
        assert "changes things" in call(box, "bookRoom", room=7, guest="Ada").text
        assert "do not fit" in call(box, "listRooms", day="2026-06-01", beds=0).text
        assert "do not fit" in call(box, "listRooms", beds=1).text
        allowed = box.under(permissions=Permissions(frozenset({"bookRoom"})))
        assert "LUTHIER_OPENAPI_KEY" in call(allowed, "bookRoom", room=7, guest="Ada").text
        assert not [a for a in web.asked if a.method == "POST"]


def test_a_path_argument_stays_one_segment(tmp_path) -> None:
    paths = {
        "/a/{b}": {
            "get": {"parameters": [{"name": "b", "in": "path", "schema": {"type": "string"}}]}
        }
    }
    with serving(lambda a: json_reply(a.path)) as web:
        with open_toolbox([spec_file(tmp_path, web, paths=paths)]) as box:
            call(box, "get_a_b", b="../admin?x=1#y")
            call(box, "get_a_b", b="..")
        assert [a.path for a in web.asked] == ["/a/..%2Fadmin%3Fx%3D1%23y", "/a/%2E%2E"]


def test_specifications_that_cannot_be_used_are_refused(tmp_path) -> None:
    good = tmp_path / "s.json"
    for text, word in (
        ("{", "neither JSON nor YAML"), ("[]", "no paths"), ('{"paths": {}}', "version none"),
        ('{"swagger": "2.0", "paths": {}}', "version 2.0"),
        ('{"openapi": "3.0.0", "paths": {}}', "where its service is"),
        ('{"openapi": "3.0.0", "servers": [{"url": "http://x.org"}], "paths": {}}', "no operation"),
    ):  # fmt: skip
        good.write_text(text)
        with pytest.raises(UserError, match=word):
            open_toolbox([f"openapi:{good}"])
    with pytest.raises(UserError, match="cannot be read"):
        open_toolbox([f"openapi:{tmp_path / 'none.json'}"])


INSIDE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
    "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1",
    "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "2002:7f00:1::", "ff02::1", "2001:0:53aa:64c::1", "localhost",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_no_form_of_an_inner_address_is_public(address) -> None:
    assert not is_public(address)
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]",
     "[::ffff:127.0.0.1]", "LOCALHOST", "127.0.0.1.", "0"],
)  # fmt: skip
def test_the_browser_reaches_nothing_inside(host) -> None:
    with serving(lambda _: page("inside")) as web, open_toolbox(["browser"]) as box:
        result = call(box, "browse", url=f"http://{host}:{web.port}/")
        assert result.failed, result.text
        assert "inside" not in result.text
        assert not web.asked


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.org/", "gopher://x:70/_", "data:text/html,x",
     "javascript:alert(1)", "http://bob:pw@example.org/", "//example.org/x", "http://", "http:///x",
     "http://[::1", "about:blank"],
)  # fmt: skip
def test_other_schemes_are_no_addresses(url) -> None:
    with open_toolbox(["browser"]) as box:
        assert call(box, "browse", url=url).failed


def test_a_redirect_inside_is_not_followed() -> None:
    """A public page that sends the browser to a private one."""
    with serving(lambda _: page("inside")) as inner:
        to = {"location": f"http://localhost:{inner.port}/meta"}
        with (
            serving(lambda _: (302, to, b"")) as outer,
            open_toolbox([f"browser:127.0.0.1:{outer.port}"]) as box,
        ):
            result = call(box, "browse", url=f"{outer.url}/page")
        assert result.failed
        assert "no public network" in result.text
        assert outer.asked
        assert not inner.asked


def test_a_name_that_changes_its_address_gains_nothing(monkeypatch) -> None:
    """DNS rebinding: public when it is checked, private when it is used."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    monkeypatch.setattr(address_guard, "addresses_of", lambda host, port: next(answers))
    used = []

    def connect(self, address, port, **settings):
        used.append(address)
        raise address_guard.httpcore.ConnectError("no")

    monkeypatch.setattr(address_guard.httpcore.SyncBackend, "connect_tcp", connect)
    client = GuardedHttp()
    with pytest.raises(ToolFailure):
        client.ask("GET", "http://rebind.example/")
    assert used == ["93.184.215.14"], "the address that was checked, and no second look-up"
    with pytest.raises(ToolFailure, match="no public network"):
        client.ask("GET", "http://rebind.example/")
    assert used == ["93.184.215.14"]
    monkeypatch.setattr(address_guard, "addresses_of", lambda h, p: ["93.184.215.14", "10.0.0.1"])
    with pytest.raises(ToolFailure, match=r"10\.0\.0\.1"):
        client.ask("GET", "http://both.example/")


def test_credentials_do_not_follow_a_redirect(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("LUTHIER_OPENAPI_KEY", "s3cret-value-1")
    with serving(lambda _: page("thief")) as thief:
        away = {"location": f"{thief.url}/x"}
        with serving(lambda _: (307, away, b"")) as web:
            allowed = Permissions(frozenset({"bookRoom"}))
            with open_toolbox([spec_file(tmp_path, web)], permissions=allowed) as box:
                assert call(box, "bookRoom", room=1, guest="x").failed
                assert call(box, "listRooms", day="x").failed
        assert not thief.asked


def test_a_specification_cannot_name_an_inner_server(tmp_path) -> None:
    servers = [{"url": "http://169.254.169.254"}]
    path = tmp_path / "s.json"
    path.write_text(json.dumps({**BOOKING, "servers": servers}))
    with open_toolbox([f"openapi:{path}"]) as box:
        assert "no public network" in call(box, "listRooms", day="x").text


HTML = """<html><head><title>Oak &amp; Iron</title><script>bad()</script></head><body>
<nav><a href="/menu">Menu</a></nav><main><h1>Desks</h1><p>Solid   oak, 480 EUR.</p>
<!-- hidden --><p hidden>unseen</p><a href="/oak#top">Oak desk</a> <a href="mailto:x@y.z">Mail</a>
</main></body></html>"""


def test_a_page_becomes_text_and_links() -> None:
    def reply(asked):
        if asked.path == "/big":
            return 200, {"content-type": "text/plain"}, b"x" * 9_000_000
        if asked.path == "/file":
            return 200, {"content-type": "image/png"}, b"\x89PNG" + bytes(5000)
        return page(HTML) if asked.path == "/" else (404, {}, b"")

    with serving(reply) as web, open_toolbox([f"browser:127.0.0.1:{web.port}"]) as box:
        shown = call(box, "browse", url=f"{web.url}/").text
        assert shown.splitlines()[0].startswith("Oak & Iron (")
        assert "Solid oak, 480 EUR." in shown
        assert f"Links: Oak desk: {web.url}/oak" in shown
        for word in ("bad()", "Menu", "hidden", "unseen", "mailto"):
            assert word not in shown
        assert "no text" in call(box, "browse", url=f"{web.url}/file").text
        assert len(call(box, "browse", url=f"{web.url}/big").text) < 9_000
        assert "start=" in call(box, "browse", url=f"{web.url}/big").text
        assert "404" in call(box, "browse", url=f"{web.url}/none").text


@pytest.mark.parametrize("engine", ["searxng", "brave", "tavily"])
def test_search_engines_behind_one_protocol(engine, monkeypatch) -> None:
    hits = [
        {"title": "Oak", "url": "https://a.example/", "content": "a  tree", "description": "a tree"}
    ]
    monkeypatch.setenv("BRAVE_API_KEY", "brave-key-123")
    monkeypatch.setenv("TAVILY_API_KEY", "tavily-key-123")

    def reply(asked):
        sent = json.dumps([asked.headers, asked.body.decode(), asked.query])
        if engine != "searxng" and f"{engine}-key-123" not in sent:
            return json_reply({"error": "key"}, 403)
        if "fail" in sent:
            return 500, {}, b"broken"
        if "odd" in sent:
            return 200, {"content-type": "text/html"}, b"<html>"
        return json_reply({"web": {"results": hits}} if engine == "brave" else {"results": hits})

    with serving(reply) as web, open_toolbox([f"search:{engine}#{web.url}"]) as box:
        assert call(box, "web_search", query="oak").text == "[1] Oak (https://a.example/): a tree"
        assert "status 500" in call(box, "web_search", query="fail").text
        assert "no JSON" in call(box, "web_search", query="odd").text
        assert "-key-" not in repr(box.tools)


def test_engines_need_their_keys_and_addresses(monkeypatch) -> None:
    monkeypatch.delenv("BRAVE_API_KEY", raising=False)
    for address, word in (
        ("search:brave", "BRAVE_API_KEY"), ("search:searxng", "address of a server"),
        ("search:other", "no search engine"), ("browser:localhost", "names no host"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=word):
            open_toolbox([address])


def test_a_server_that_hangs_up_or_says_nothing_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        from luthier.tools import ToolLimits

        with open_toolbox(
            [f"browser:127.0.0.1:{port}"], limits=ToolLimits(call_seconds=1.0)
        ) as box:
            assert call(box, "browse", url=f"http://127.0.0.1:{port}/").failed
    with open_toolbox([f"browser:127.0.0.1:{port}"]) as box:
        assert "cannot be reached" in call(box, "browse", url=f"http://127.0.0.1:{port}/").text
