"""kill -9 while indexing: readers see the last complete version, the next run goes on."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.retrieval import build_index, indexing, open_index
from luthier.retrieval.stores import open_store
from tests.index_kill import Letters

pytest.importorskip("semantic_text_splitter", reason="needs luthier[rag]")
FILES = 30
STORES = {"sqlite": ("sqlite3", 10), "lancedb": ("lancedb", 4)}  # what it needs, and kills


def _write(docs: Path, round_number: int) -> None:
    docs.mkdir(exist_ok=True)
    for i in range(FILES):
        body = f"Document {i} of round {round_number}, {chr(97 + i % 26) * 5}."
        text = "\n\n".join(f"## Part {part}\n\n{body} Part {part}." for part in range(3))
        (docs / f"{i:02}.md").write_text(text, "utf-8")


def _rounds(into: str) -> set[str]:
    """The rounds of which the index holds passages: one, or it is a mixture of two versions."""
    with open_store(into).reader() as reader:
        found = reader.matching(["document round"], 10_000)[0]
        texts = [p.text for p in reader.passages([i for i, _ in found])]
        query = Letters().embed(["zzz"])
        near = reader.passages([i for i, _ in reader.nearest(query, 10)[0]])
        assert reader.counts() == (3 * FILES, FILES) == (len(texts), FILES)
    return set(re.findall(r"round (\d+)", "\n".join([*texts, *(p.text for p in near)])))


@pytest.mark.parametrize("name", STORES)
def test_kills_lose_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, kills = STORES[name]
    pytest.importorskip(module)
    monkeypatch.setattr(indexing, "open_embedder", lambda _: Letters())
    docs = tmp_path / "docs"
    into = str(tmp_path / "i") if name == "sqlite" else f"lancedb://{tmp_path / 'i'}"
    _write(docs, 0)
    build_index([docs], into)
    draw = random.Random(5)
    last, killed = 0, 0
    # Two at the last event of all, when the version is being published; the rest anywhere.
    moments = [FILES + 1, FILES + 1, *(draw.randint(1, FILES + 1) for _ in range(kills - 2))]
    for number, moment in enumerate(draw.sample(moments, kills), 1):
        _write(docs, number)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.index_kill", str(docs), into],
            stdout=subprocess.PIPE, text=True,
        ) as run:  # fmt: skip
            assert run.stdout is not None
            for _ in range(moment):
                run.stdout.readline()
            if moment == 1:
                assert _rounds(into) <= {str(last), str(number)}
            run.kill()
        killed += run.returncode == -9
        (seen,) = _rounds(into)
        assert int(seen) in (last, number), "neither the version before nor the one after"
        last = int(seen)
    assert killed >= kills // 2
    report = build_index([docs], into)
    assert report.bad == ()
    assert _rounds(into) == {str(kills)}
    build_index([docs], tmp_path / "fresh")
    fresh, index = open_index(tmp_path / "fresh"), open_index(into)
    assert index.fingerprint == fresh.fingerprint
    ids = sorted(i for i, _ in _all(str(tmp_path / "fresh")))
    assert sorted(i for i, _ in _all(into)) == ids
    assert index.passages(ids) == fresh.passages(ids)


def _all(into: str) -> list[tuple[str, float]]:
    with open_store(into).reader() as reader:
        return reader.matching(["document"], 10_000)[0]
