"""A file does not spend a secret, and no secret is shown or written."""

from __future__ import annotations

import logging

import pytest
import yaml

import luthier
from luthier.cli.main import run
from luthier.errors import BackendError, ModelError, UserError
from luthier.models.fake import FakeBackend
from luthier.models.load import load
from luthier.models.model import Model
from luthier.redaction import plain_address, redact, redacted_pieces
from luthier.retrieval import IndexSettings, SearchSettings, build_index, open_index
from luthier.safety.hosts import same_server
from tests.attacks.conftest import KEY

pytest.importorskip("openai", reason="needs luthier[endpoint]")
QUESTION = "who is the mayor of Dorma, my secret question"


def saved_with_base(folder, base):
    """A saved adaptation that names a base."""
    Model(FakeBackend(lambda _: "yes")).save(folder)
    path = folder / "luthier.yaml"
    record = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump({**record, "base": base}), "utf-8")
    return folder


def index_by(folder, address):
    """An index whose stored embedder is an address."""
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "a.txt").write_text("The mayor of Dorma is Quist.", "utf-8")
    build_index([folder / "docs"], folder / "index", settings=IndexSettings(embedder=address))
    return folder / "index"


@pytest.fixture
def forget(monkeypatch):
    """Forget the hosts that were named so far, as another process would."""
    from luthier.models.rag import lookup
    from luthier.safety import hosts

    def forget():
        monkeypatch.setattr(hosts, "_named", set())
        lookup._open_cached.cache_clear()

    return forget


def test_the_base_of_a_shared_folder_gets_nothing(serve, tmp_path, capsys, monkeypatch):
    address, server = serve()
    folder = saved_with_base(tmp_path / "shared", f"{address}#m")
    assert run(["ask", str(folder), QUESTION]) == 2
    shown = capsys.readouterr().err
    assert f"--base {address}#m" in shown
    assert "LUTHIER_ALLOWED_HOSTS=127.0.0.1" in shown
    with pytest.raises(ModelError, match="address"):
        luthier.load(folder)
    assert server.got == []
    assert luthier.load(folder, base=f"{address}#m").ask(QUESTION) == "hello"
    assert server.got


def test_a_host_may_be_allowed(serve, tmp_path, monkeypatch):
    address, _ = serve()
    folder = saved_with_base(tmp_path / "shared", f"{address}#m")
    monkeypatch.setenv("LUTHIER_ALLOWED_HOSTS", "example.org, 127.0.0.1")
    with pytest.raises(ModelError, match="another version"):  # the next of the checks
        load(folder)
    monkeypatch.setenv("LUTHIER_ALLOWED_HOSTS", "127.0.0.1:1")
    with pytest.raises(ModelError, match="address"):
        load(folder)


@pytest.mark.parametrize("spelling", ["HTTP://{host}", " http://{host}", "http://u:p@{host}"])
def test_no_spelling_of_an_address_gets_past(serve, tmp_path, spelling):
    address, server = serve()
    base = spelling.format(host=address.removeprefix("http://")) + "#m"
    with pytest.raises(ModelError):
        load(saved_with_base(tmp_path / "shared", base))
    assert server.got == []


def test_the_embedder_of_an_index_gets_nothing(serve, tmp_path, capsys, forget):
    address, server = serve()
    index = index_by(tmp_path, f"{address}#m")
    server.got.clear()
    forget()
    assert run(["search", str(index), QUESTION]) == 2
    assert f"--embedder '{address}#m'" in capsys.readouterr().err
    assert server.got == []
    assert run(["search", str(index), QUESTION, "--mode", "lexical"]) == 0
    assert server.got == []
    assert run(["search", str(index), QUESTION, "--embedder", f"{address}#m"]) == 0
    assert QUESTION in server.got[-1]


def test_the_index_of_a_model_sends_no_question_to_an_address(serve, tmp_path, capsys, forget):
    from luthier.models.adaptation import Knowledge

    address, server = serve()
    index = index_by(tmp_path, f"{address}#m")
    slot = Knowledge(str(index), open_index(index).fingerprint, SearchSettings(k=1, mode="hybrid"))
    folder = Model(FakeBackend(lambda _: "Quist")).adapt(knowledge=slot).save(tmp_path / "model")
    server.got.clear()
    forget()
    command = ["ask", str(folder), QUESTION, "--base", "fake"]
    assert run(command) == 2
    assert "--embedder" in capsys.readouterr().err
    assert server.got == []
    assert run([*command, "--embedder", f"{address}#m"]) == 0


@pytest.mark.parametrize("scheme", ["qdrant+http", "postgresql"])
def test_an_index_at_an_address_must_be_named(tmp_path, capsys, scheme, monkeypatch):
    from luthier.models.adaptation import Knowledge

    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    slot = Knowledge(f"{scheme}://127.0.0.1:9/db#docs", "f", SearchSettings(k=1, mode="lexical"))
    folder = Model(FakeBackend(lambda _: "Quist")).adapt(knowledge=slot).save(tmp_path / "model")
    assert run(["ask", str(folder), QUESTION, "--base", "fake"]) == 2
    shown = capsys.readouterr().err
    assert "--knowledge" in shown
    assert KEY not in shown


def test_a_task_file_names_no_server(tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("q,a\n" + "\n".join(f"q{i},a{i}" for i in range(40)))
    (tmp_path / "t.yaml").write_text(
        "instruction: Answer.\ndata: rows.csv\ninput: q\ntarget: a\nkind: question-answering\n"
        "knowledge: qdrant+http://127.0.0.1:9#docs\n"
    )
    assert run(["compare", str(tmp_path / "t.yaml"), "--plan", "--model", "fake"]) == 2
    assert "gets no key and no text" in " ".join(capsys.readouterr().err.split())


def test_a_redirect_to_another_server_is_refused(serve, tmp_path):
    other, thief = serve()
    address, _ = serve(location=other)
    with pytest.raises(BackendError, match="another server"):
        load(f"{address}#m")
    with pytest.raises(BackendError, match="another server"):
        index_by(tmp_path, f"{address}#m")
    assert thief.got == []


def test_a_document_does_not_lead_to_another_server(serve, tmp_path):
    other, inner = serve()
    address, _ = serve(location=other)
    with pytest.raises(UserError, match="moved to another server"):
        build_index([f"{address}/page.html"], tmp_path / "i",
                    settings=IndexSettings(embedder="none", urls=True))  # fmt: skip
    assert inner.got == []


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("http://a/v1", "http://a/v2", True),
        ("http://a/v1", "https://a/v1", True),
        ("https://a/v1", "http://a/v1", False),
        ("http://a/v1", "http://b/v1", False),
        ("http://a:1/v1", "http://a:2/v1", False),
        ("http://a/v1", "http://a@b/v1", False),
        ("http://a/v1", "http://A/v1", True),
    ],
)
def test_what_one_server_is(old, new, same):
    assert same_server(old, new) is same


@pytest.mark.parametrize("status", [401, 400, 500])
def test_a_key_that_an_error_echoes_is_not_shown(serve, status, capsys):
    address, server = serve(status=status, says="your key {auth} is wrong")
    assert run(["ask", f"{address}#m", QUESTION]) in (1, 2)
    assert any(KEY in sent for sent in server.got)
    out, err = capsys.readouterr()
    assert "[redacted]" in err
    assert KEY not in out + err


def test_a_key_that_an_answer_echoes_is_not_shown(serve, capsys):
    address, _ = serve(says="the key is {auth}!")
    for options in ([], ["--json"]):
        assert run(["ask", f"{address}#m", QUESTION, *options]) == 0
        out, err = capsys.readouterr()
        assert "[redacted]!" in out
        assert KEY not in out + err


def test_a_key_in_pieces_is_not_streamed(serve):
    whole = f"the key is {KEY}, and sk-planted is no key"
    address, _ = serve(streams=[whole[i : i + 3] for i in range(0, len(whole), 3)])
    said = "".join(load(f"{address}#m").stream("hello"))
    assert said == "the key is [redacted], and sk-planted is no key"


def test_pieces_without_a_key_are_as_they_were():
    pieces = ["a", "sk-plant", "", "ed is", " nothing"]
    assert "".join(redacted_pieces(pieces)) == "".join(pieces)


def test_a_password_in_an_address_is_in_no_record(serve, tmp_path, capsys):
    address, _ = serve()
    with_password = address.replace("http://", "http://me:hunter2secret@")
    model = load(f"{with_password}#m")
    assert model.backend.name == f"{address}#m"
    folder = model.save(tmp_path / "saved")
    failing, _ = serve(status=404)
    failing = failing.replace("http://", "http://me:hunter2secret@")
    assert run(["ask", failing, "hello"]) == 1
    out, err = capsys.readouterr()
    written = "".join(p.read_text("utf-8") for p in folder.rglob("*") if p.is_file())
    assert "hunter2secret" not in written + out + err
    with pytest.raises(ModelError, match="password") as refused:
        luthier.PromptSearch(proposer=f"{with_password}#m")
    assert "hunter2secret" not in str(refused.value)


def test_what_is_redacted():
    assert redact("see http://u:pw@h/v1?api-key=abc&x=1") == (
        "see http://[redacted]@h/v1?api-key=[redacted]&x=1"
    )
    assert redact(f"key {KEY}.") == "key [redacted]."
    assert redact("mail me@example.org, http://h/a@b") == "mail me@example.org, http://h/a@b"
    assert plain_address("http://u:p@h:1/v1?key=a&api-version=2#m") == (
        "http://h:1/v1?api-version=2#m"
    )
    assert plain_address("http://h/v1?a=b%20c#m") == "http://h/v1?a=b%20c#m"


def everything_under(folder):
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("fails", [False, True])
def test_a_planted_key_is_in_nothing_that_a_run_leaves(
    serve, tmp_path, capsys, monkeypatch, fails, caplog
):
    """A server that echoes its key in every answer, or fails with it after a while."""
    caplog.set_level(logging.DEBUG)
    cache = tmp_path / "cache"
    monkeypatch.setenv("LUTHIER_CACHE", str(cache))
    monkeypatch.setenv("LUTHIER_RESPONSE_CACHE", str(tmp_path / "responses.sqlite"))
    monkeypatch.chdir(tmp_path)
    asked = []

    def reply(body):
        asked.append(body)
        says = f"spam {KEY} it is"
        if fails and len(asked) > 6:
            return b"<html>proxy: Authorization: Bearer " + KEY.encode() + b" refused</html>"
        import json

        message = {"role": "assistant", "content": says}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return json.dumps({"choices": choices}).encode()

    address, server = serve(body=reply)
    rows = "\n".join(f'"message {i} about {i % 7}",{("spam", "ham")[i % 2]}' for i in range(60))
    (tmp_path / "rows.csv").write_text("q,a\n" + rows)
    (tmp_path / "t.yaml").write_text(
        "instruction: Which?\ndata: rows.csv\ninput: q\ntarget: a\nlabels: [spam, ham]\n"
    )
    code = run(["compare", "t.yaml", "--model", f"{address}#m", "--techniques",
                "zero-shot,few-shot", "--budget", "20ktok", "--seeds", "1", "--out", "out",
                "--embedder", "none",
                "--yes"])  # fmt: skip
    assert code == (1 if fails else 0)
    assert any(KEY in sent for sent in server.got)
    out, err = capsys.readouterr()
    assert "zero-shot" in out
    assert KEY not in out + err + caplog.text
    run(["compare", "t.yaml", "--model", f"{address}#m", "--techniques", "zero-shot,few-shot",
         "--budget", "20ktok", "--seeds", "1", "--out", "out", "--yes", "--json",
         "--embedder", "none"])  # fmt: skip
    run(["report", "out"])
    if not fails:
        run(["ask", "out/zero-shot", "a message", "--base", f"{address}#m"])
    out, err = capsys.readouterr()
    assert KEY not in out + err
    left = everything_under(tmp_path)
    assert any("comparison.json" in name for name in left)
    assert [name for name, content in left.items() if KEY.encode() in content] == []
