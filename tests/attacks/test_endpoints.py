"""What a server sends is bounded in size and time, and never obeyed."""

from __future__ import annotations

import gzip
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from luthier.cli.main import run
from luthier.errors import BackendError, LuthierError, UserError
from luthier.models.load import load
from luthier.safety import guarded_client
from luthier.safety.visible import visible

pytest.importorskip("openai", reason="needs luthier[endpoint]")
NASTY = "a\x1b]0;title\x07b\x1b[2J\x9b31mc\x08\x00\u202edlrow\r\n\tend\ud83d"


def chat(content, **more):
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "choices": [choice], **more}
    ).encode()


def obeyed(text):
    return [c for c in text if c != "\n" and c != "\t" and (ord(c) < 32 or 127 <= ord(c) < 160
                                                           or c == "\u202e")]  # fmt: skip


def test_what_is_visible():
    assert obeyed(visible(NASTY)) == []
    assert visible("plain – text\n\twith 漢字 👍") == "plain – text\n\twith 漢字 👍"
    visible(NASTY).encode("utf-8")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_control_sequences_reach_no_terminal(serve, options, capfd):
    address, _ = serve(body=chat(NASTY))
    assert run(["ask", f"{address}#m", "hello", *options]) == 0
    out, err = capfd.readouterr()
    assert "title" in out
    assert obeyed(out) == obeyed(err) == []


@pytest.mark.parametrize("status", [400, 500])
def test_nor_do_those_of_an_error(serve, status, capfd):
    address, _ = serve(status=status, says=NASTY)
    assert run(["ask", f"{address}#m", "hello"]) in (1, 2)
    out, err = capfd.readouterr()
    assert obeyed(out) == obeyed(err) == []


def test_nor_those_of_a_task_or_a_document(tmp_path, capfd):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "\x1b[31ma.txt").write_text("The mayor\x1b[2J of Dorma is Quist.")
    (tmp_path / "t.yaml").write_text(
        'instruction: "a\\eb"\ndata: "rows\\e[2J.csv"\ninput: a\ntarget: b\n'
    )
    run(["index", str(tmp_path / "docs"), "--into", str(tmp_path / "i"), "--embedder", "none"])
    run(["search", str(tmp_path / "i"), "mayor"])
    assert run(["compare", str(tmp_path / "t.yaml")]) == 2
    out, err = capfd.readouterr()
    assert "Quist" in out
    assert obeyed(out) == obeyed(err) == []


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000, b'{"choices":' + b"[" * 100_000, b"", b"null", b"[]", b"\xff\xfe\x00",
        b'{"choices": null}', b'{"choices": {}}', b'{"choices": [null]}', b'{"choices": [[]]}',
        b'{"choices": [{"message": 3}]}', b'{"choices": [{"message": {"content": {"a": 1}}}]}',
        b'{"error": {"message": {"deep": [1, [2]]}}}', b'{"error": "\\ud800"}', b"9" * 10_000,
        b"<html>" * 1000, b'{"choices": [{"message": {"content": "x"}, "finish_reason": [1]}]}',
    ],
)  # fmt: skip
def test_a_reply_of_any_form_is_an_answer_or_an_error(serve, body, capfd):
    address, _ = serve(body=body)
    code = run(["ask", f"{address}#m", "hello"])
    shown = capfd.readouterr().err
    assert code in (0, 1, 2)
    assert "should not" not in shown
    assert "Traceback" not in shown


def test_halves_of_surrogate_pairs_are_answers_that_can_be_kept(serve, tmp_path):
    address, _ = serve(body=b'{"choices": [{"message": {"content": "half \\ud83d"}}]}')
    assert load(f"{address}#m").ask("hello") == "half ?"


def test_counts_that_are_none_are_not_counted(serve):
    usage = {"prompt_tokens": 10**400, "completion_tokens": -5}
    address, _ = serve(body=chat("yes", usage=usage))
    response = load(f"{address}#m").respond("hello")
    assert response.usage.uncounted_calls == 1


class EndlessHandler(BaseHTTPRequestHandler):
    """Sends a reply that never ends, a byte or a megabyte at a time."""

    piece, pause, encoding = b" ", 0.05, ""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if self.encoding:
            self.send_header("Content-Encoding", self.encoding)
        self.end_headers()
        try:
            while True:
                self.wfile.write(self.piece)
                time.sleep(self.pause)
        except OSError:
            return

    def log_message(self, *args):
        pass


@pytest.fixture
def endless():
    servers = []

    def start(**manners):
        handler = type("Handler", (EndlessHandler,), manners)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1#m"

    yield start
    for server in servers:
        server.shutdown()
        server.socket.close()


def test_a_reply_that_never_ends_is_ended(endless, monkeypatch):
    monkeypatch.setattr(guarded_client, "MOST_REPLY_SECONDS", 0.3)
    with pytest.raises(BackendError, match="seconds"):
        load(endless())


def test_a_reply_without_measure_is_ended(endless, monkeypatch):
    monkeypatch.setattr(guarded_client, "MOST_REPLY_BYTES", 5_000_000)
    with pytest.raises(BackendError, match="MB"):
        load(endless(piece=b" " * 1_000_000, pause=0.0))


def test_a_reply_that_unpacks_to_anything_is_not_unpacked(endless):
    with pytest.raises(BackendError, match="compressed"):
        load(endless(piece=gzip.compress(b" " * 10_000_000), encoding="gzip"))


@pytest.mark.parametrize("row", ["NaN", "Infinity", '"x"', "null", "[1]", "1e400"])
def test_embeddings_of_any_form(serve, tmp_path, row):
    from luthier.retrieval import IndexSettings, build_index

    data = [{"object": "embedding", "index": 0, "embedding": "ROW"}]
    body = json.dumps({"object": "list", "data": data}).replace('"ROW"', f"[{row}]").encode()
    address, _ = serve(body=body)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises((LuthierError, UserError)):
        build_index([tmp_path / "a.txt"], tmp_path / "i",
                    settings=IndexSettings(embedder=f"{address}#m"))  # fmt: skip
