"""Read-only folders, clocks that run backwards, terminals that close."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from luthier import interrupts
from luthier.cli.main import run
from luthier.compare.assemble import load_comparison
from luthier.ledger import database, run_ledger
from luthier.ledger.run_ledger import Ledger, StoredComparison
from tests.attacks.test_folders import again, compared, everything  # noqa: F401 - a fixture


@pytest.fixture
def read_only(compared, monkeypatch):  # noqa: F811
    """The run folder of a comparison that says it cannot be written."""
    _, out = compared
    real = os.access
    refuse = str(out.resolve())

    def access(path, mode, **options):
        inside = str(Path(path).resolve()).startswith(refuse)
        return False if inside and mode & os.W_OK else real(path, mode, **options)

    monkeypatch.setattr(os, "access", access)
    return out


def test_a_run_folder_that_cannot_be_written_is_read(read_only, tmp_path, capsys):
    before = everything(read_only)
    assert run(["ask", "out", "message 3 about 3"]) == 0
    assert run(["ask", "out/few-shot", "message 3 about 3"]) == 0
    assert run(["report", "out", "--table"]) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1])
    assert page.resolve() == (tmp_path / "out.html").resolve()
    assert "zero-shot" in page.read_text("utf-8")
    assert everything(read_only) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
def test_so_it_is_by_another_user(compared, tmp_path):  # noqa: F811
    """As a user who may not write there, for root may write anywhere."""
    _, out = compared
    place = Path("/tmp") / f"luthier-{os.getpid()}"
    place.mkdir(mode=0o755)
    try:
        import shutil

        shutil.copytree(out, place / "out")
        before = everything(place / "out")
        home = place / "home"
        home.mkdir()
        os.chown(home, 65534, 65534)
        source = str(Path(__file__).parents[2] / "src")
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": source, "HOME": str(home),
                       "LUTHIER_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"}  # fmt: skip
        for command in (["ask", str(place / "out"), "message 3"], ["report", str(place / "out")]):
            try:
                done = subprocess.run(
                    [sys.executable, "-m", "luthier", *command],
                    cwd=home, env=environment, user=65534, group=65534, capture_output=True,
                    text=True, timeout=120, check=False,
                )  # fmt: skip
            except PermissionError:
                pytest.skip("the interpreter is closed to other users")
            if "No module named" in done.stderr:
                pytest.skip("the packages are closed to other users")
            assert done.returncode == 0, done.stderr
        assert (home / "out.html").is_file()
        assert everything(place / "out") == before
    finally:
        shutil.rmtree(place)


def test_what_a_killed_process_left_is_read_too(compared, tmp_path, monkeypatch):  # noqa: F811
    """A ledger whose last runs are in its log, in a folder that cannot be written."""
    _, out = compared
    with Ledger(out / "ledger.sqlite") as ledger:
        ledger.add_event("note", "in the log")
        copy = tmp_path / "killed"
        copy.mkdir()
        for path in out.glob("ledger.sqlite*"):
            (copy / path.name).write_bytes(path.read_bytes())
    assert (copy / "ledger.sqlite-wal").stat().st_size > 0
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with Ledger.to_read(copy / "ledger.sqlite") as ledger:
        assert ledger.events()[-1].message == "in the log"
    assert sorted(p.name for p in copy.iterdir() if p.name != "ledger.sqlite-shm") == [
        "ledger.sqlite", "ledger.sqlite-wal",
    ]  # fmt: skip


def test_the_newest_comparison_is_the_one_written_last(tmp_path, monkeypatch):
    times = iter([f"2{n:03}-01-01T00:00:00Z" for n in range(999, 0, -1)])  # the clock runs back
    monkeypatch.setattr(database, "now", lambda: next(times))
    monkeypatch.setattr(run_ledger, "now", lambda: next(times))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for name in ("first", "second", "third", "first"):
            at = next(times)
            ledger.start_comparison(StoredComparison(name, at, at, None, "", "", "", "", ""))
        assert [c.id for c in ledger.comparisons()] == ["second", "third", "first"]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.comparisons()[-1].id == "first"


def test_a_clock_set_back_changes_no_report(compared, monkeypatch):  # noqa: F811
    from luthier.compare import run_comparison

    task, out = compared
    first = load_comparison(out).id
    monkeypatch.setattr(run_comparison, "now", lambda: "1999-01-01T00:00:00+00:00")
    assert run(["compare", str(task), "--model", "fake", "--techniques", "zero-shot",
                "--budget", "20ktok", "--seeds", "1", "--out", "out", "--yes",
                "--embedder", "none"]) == 0  # fmt: skip
    assert load_comparison(out).id != first
    assert again(task) == 0
    assert load_comparison(out).id == first


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_a_terminal_that_closes_stops_as_ctrl_c_does(tmp_path):
    program = (
        "import time\nfrom luthier import interrupts\ninterrupts.install()\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n"
        "    print('stopped', interrupts.requested())\n"
    )
    for number in (signal.SIGHUP, signal.SIGTERM):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        out, _ = child.communicate(timeout=60)
        assert out == "stopped True\n"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_nohup_is_respected(monkeypatch):
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        interrupts.install()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
