"""Opinions from many annotators at once over HTTP, the server killed in the middle: is any lost?

    python -m benchmarks.opinions --opinions 10000 --people 20

`luthier feedback open` serves in a process of its own; each annotator is a process that asks for an
item, sends an opinion (one in ten twice, as an impatient thumb does), and asks again. When half of
the opinions are there, the server is killed (SIGKILL) and started again at its port. An annotator
that got no answer sends the same opinion again. Lost is what a server accepted and the store does
not have; twice is what one person said of one item more than once.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PATIENCE = 120.0  # seconds that an annotator waits for a server that is gone


def annotate(port: int, token: str, accepted: Path) -> None:
    """Judge until nothing is left, and write down the key of each opinion that was accepted."""
    rng, number, again = random.Random(token), 0, 0
    connection: list[http.client.HTTPConnection] = []

    def ask(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        nonlocal again
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                if not connection:
                    connection.append(http.client.HTTPConnection("127.0.0.1", port, timeout=30))
                data = None if body is None else json.dumps(body)
                headers = {"Content-Type": "application/json"}
                method = "GET" if body is None else "POST"
                connection[0].request(method, f"/a/{token}{path}", data, headers)
                with connection[0].getresponse() as answer:
                    found: dict[str, Any] = json.loads(answer.read())
                    if answer.status != 200:
                        raise SystemExit(f"{answer.status}: {found}")
                    return found
            except (OSError, http.client.HTTPException):
                connection.clear()
                again += 1
                if time.monotonic() > ends:
                    raise
                time.sleep(0.1)

    with accepted.open("w", encoding="utf-8") as log:
        while (item := ask("/next")["item"]) is not None:
            first, second = (a["id"] for a in item["answers"])
            number += 1
            body = {
                "key": f"k{number}", "item": item["id"], "kind": "preference", "answer": first,
                "other": second, "grade": "better", "shown": [first, second],
            }  # fmt: skip
            for _ in range(2 if rng.random() < 0.1 else 1):
                status = ask("/opinions", body)["status"]
                assert status in ("stored", "already"), status
            log.write(f"{token[:8]}-k{number}\n")
            log.flush()
        log.write(f"again {again}\n")


def measure(folder: Path, *, opinions: int, people: int) -> dict[str, Any]:
    """Collect so many opinions, kill the server at half of them, and count."""
    from luthier.feedback.annotate.invites import invite_of
    from luthier.ledger.feedback_store import FeedbackStore
    from luthier.ledger.opinions import make_item

    path = folder / "ledger.sqlite"
    names = [f"person {k}" for k in range(people)]
    items = -(-opinions // people)
    with FeedbackStore(path) as store:
        store.add_items([make_item(f"question {i}", [f"yes {i}", f"no {i}"]) for i in range(items)])
        tokens = [invite_of(store, name).token for name in names]
        port = _free_port()
        server = _serve(folder, port, people)
        logs = [folder / f"accepted-{k}.txt" for k in range(people)]
        began = time.monotonic()
        clients = [
            subprocess.Popen([sys.executable, "-m", "benchmarks.opinions", f"--annotator={token}",
                              "--port", str(port), "--log", str(log)])
            for token, log in zip(tokens, logs, strict=True)
        ]  # fmt: skip
        try:
            while _accepted(logs) < items * people // 2:
                time.sleep(0.05)
                if server.poll() is not None or all(c.poll() is not None for c in clients):
                    raise SystemExit("the server or the annotators ended before half was done")
            server.send_signal(signal.SIGKILL)
            server.wait()
            at_kill = _accepted(logs)
            server = _serve(folder, port, people)
            failed = sum(client.wait() != 0 for client in clients)
            seconds = time.monotonic() - began
        finally:
            for process in (server, *clients):
                process.kill()
                process.wait()
        found = store.opinions()
    told = [line for log in logs for line in log.read_text("utf-8").splitlines()]
    keys = {line for line in told if not line.startswith("again")}
    again = sum(int(line.split()[1]) for line in told if line.startswith("again"))
    again = sum(int(line.split()[1]) for line in told if line.startswith("again"))
    return {
        "asked_for": items * people, "stored": len(found), "annotators_that_failed": failed,
        "accepted": len(keys), "accepted_before_the_kill": at_kill,
        "lost": len(keys - {o.key for o in found}),
        "twice": len(found) - len({(o.who, o.item) for o in found}),
        "requests_sent_again": again,
        "seconds": round(seconds, 1), "opinions_per_second": round(len(found) / seconds, 1),
    }  # fmt: skip


def _serve(folder: Path, port: int, people: int) -> subprocess.Popen[bytes]:
    """The annotation page at a port; returns when it listens."""
    server = subprocess.Popen(
        [sys.executable, "-m", "luthier", "feedback", "open", "--folder", str(folder),
         "--invite", "person 0", "--per-item", str(people), "--port", str(port), "--no-browser"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return server
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"the server did not start at port {port}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _accepted(logs: list[Path]) -> int:
    return sum(log.read_bytes().count(b"\n") for log in logs if log.is_file())


def main() -> None:
    """Measure and print one JSON object; exit code 1 where one is lost or there twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--opinions", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=20)
    for hidden in ("--annotator", "--port", "--log"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.annotator:
        annotate(int(settings.port), settings.annotator, Path(settings.log))
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # no process stays behind
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), opinions=settings.opinions, people=settings.people)
    print(json.dumps(found))
    right = found["stored"] == found["asked_for"] and not found["lost"] + found["twice"]
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
