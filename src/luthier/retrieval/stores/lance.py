"""LanceDB in a folder: two tables with versions, and one small file that says which ones count.

Publishing writes new versions of both tables and then that file, in one rename. A run that was
killed before it leaves versions that nobody points at; the next run goes back behind them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import StorageError, UserError
from luthier.ledger.lock import folder_lock
from luthier.ledger.storage_errors import storage_error
from luthier.retrieval.index_store import (
    GRAPH_FROM,
    Dimension,
    Edition,
    Ranking,
    StoredDocument,
    Vectors,
    Where,
    as_passage,
    labels_of,
    place_of,
)
from luthier.retrieval.types import IndexSettings, Passage

VERSION = 1
POINTER = "current.json"
AT_ONCE = 500  # keys in one condition
KEPT = timedelta(days=1)  # versions that a reader may still be at


class LanceStore:
    """An index in a folder, `lancedb://FOLDER`."""

    name = "lancedb"

    def __init__(self, address: str) -> None:
        self.folder = Path(address.removeprefix("lancedb://"))
        self.where = f"lancedb://{self.folder}"

    @contextmanager
    def reading(self) -> Iterator[LanceReader]:
        """The versions that count now."""
        with self._failing():
            current = self._current()
            if current is None:
                raise UserError(
                    f"No index in {self.where}",
                    next_step=f"Make one: luthier index docs/ --into {self.where}",
                )
            tables = {}
            db = _connect(self.folder)
            for name in ("passages", "documents"):
                tables[name] = db.open_table(name)
                tables[name].checkout(current[name])
            yield LanceReader(tables["passages"], tables["documents"], current["facts"])

    @contextmanager
    def writing(self, settings: IndexSettings, dimension: Dimension) -> Iterator[LanceWriter]:
        """The lock dies with the process that holds it."""
        with self._failing(), folder_lock(self.folder, option="--into"):
            current = self._current()
            db = _connect(self.folder)
            if current is None:
                made = _make(db, None if dimension is None else dimension())
                self._point({}, made)
                current = self._current()
                assert current is not None
            else:
                for name in ("passages", "documents"):
                    table = db.open_table(name)
                    if table.version != current[name]:
                        table.checkout(current[name])
                        table.restore()
                        current[name] = table.version
                self._point(current["facts"], current)
            yield LanceWriter(self, db, current["facts"], settings)

    def bytes(self) -> int | None:
        """Of the whole folder."""
        return sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())

    def _current(self) -> dict[str, Any] | None:
        path = self.folder / POINTER
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if found["version"] > VERSION:
            raise StorageError(
                f"The index in {self.where} is of version {found['version']}, newer than this "
                f"luthier reads ({VERSION})",
                next_step="Update luthier, or make the index anew in another folder.",
            )
        return found

    def _point(self, facts: dict[str, str], versions: dict[str, int]) -> None:
        written = {
            "version": VERSION, "facts": facts,
            "passages": versions["passages"], "documents": versions["documents"],
        }  # fmt: skip
        scratch = self.folder / f".{POINTER}"
        with scratch.open("w", encoding="utf-8") as file:
            json.dump(written, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.folder / POINTER)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # LanceDB raises both
            raise storage_error(self.folder, error, option="--into") from error
        except ValueError as error:
            if "lance" not in str(error).lower() and not isinstance(error, json.JSONDecodeError):
                raise
            raise StorageError(
                f"{self.where} is no index, or is damaged ({str(error).splitlines()[0]})",
                next_step="Move it away, or choose another --into folder.",
            ) from error


def _connect(folder: Path) -> Any:
    for name in ("LANCE_LOG", "LANCEDB_LOG"):  # it warns that a new table is new
        os.environ.setdefault(name, "error")
    try:
        import lancedb
    except ImportError as error:
        raise UserError(
            "LanceDB is not installed", next_step="pip install 'luthier[lancedb]'"
        ) from error
    return lancedb.connect(str(folder / "tables"))


def _make(db: Any, dimension: int | None) -> dict[str, int]:
    import pyarrow as pa

    text = pa.string()
    columns = [(n, text) for n in ("id", "source", "text", "words", "place")]
    columns.append(("labels", pa.list_(text)))
    computed = [("id", text)]
    if dimension is not None:
        vector = ("vector", pa.list_(pa.float32(), dimension))
        columns.append(vector)
        computed.append(vector)
    documents = [
        ("source", text),
        ("digest", text),
        ("origin", text),
        ("stamp", pa.list_(pa.int64())),
    ]
    made = {}
    for name, schema in (("passages", columns), ("documents", documents), ("computed", computed)):
        table = db.create_table(name, schema=pa.schema(schema), mode="overwrite")
        made[name] = table.version
    return made


class LanceReader:
    """Two tables, each at one version."""

    def __init__(self, passages: Any, documents: Any, facts: dict[str, str]) -> None:
        self._passages, self._documents, self._facts = passages, documents, facts

    def facts(self) -> dict[str, str]:
        """See `Reader`."""
        return dict(self._facts)

    def counts(self) -> tuple[int, int]:
        """See `Reader`."""
        return self._passages.count_rows(), self._documents.count_rows()

    def nearest(self, vectors: Vectors, k: int, where: Where = ()) -> list[Ranking]:
        """Through a graph, its scores refined, where the index is large; else exact."""
        out: list[Ranking] = []
        for vector in vectors:
            asked = self._passages.search(vector, vector_column_name="vector")
            asked = asked.distance_type("dot").refine_factor(2).ef(max(150, 2 * k)).limit(k)
            rows = _filtered(asked, where).select(["id", "_distance"]).to_list()
            out.append([(r["id"], 1 - r["_distance"]) for r in rows])
        return out

    def matching(self, queries: Sequence[str], k: int, where: Where = ()) -> list[Ranking]:
        """By LanceDB's own inverted index."""
        out: list[Ranking] = []
        for query in queries:
            words = "".join(c if c.isalnum() else " " for c in query)
            if not words.strip() or not self._passages.count_rows():
                out.append([])
                continue
            asked = self._passages.search(words, query_type="fts", fts_columns="words").limit(k)
            rows = _filtered(asked, where).select(["id", "_score"]).to_list()
            out.append([(r["id"], float(r["_score"])) for r in rows])
        return out

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """See `Reader`."""
        rows = _rows(self._passages, "id", ids, ["id", "source", "text", "place"])
        found = {
            r["id"]: as_passage(r["id"], r["source"], r["text"], json.loads(r["place"]))
            for r in rows
        }
        return [found[i] for i in ids]

    def vectors(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """See `Reader`."""
        return _vectors(self._passages, ids)


class LanceWriter:
    """Appends to the tables; only `publish` makes it count."""

    def __init__(
        self, store: LanceStore, db: Any, facts: dict[str, str], settings: IndexSettings
    ) -> None:
        self._store, self._facts, self._settings = store, facts, settings
        self._passages, self._documents, self._computed = (
            db.open_table(n) for n in ("passages", "documents", "computed")
        )

    def facts(self) -> dict[str, str]:
        """See `Writer`."""
        return dict(self._facts)

    def held(self) -> dict[str, StoredDocument]:
        """See `Writer`."""
        rows = self._documents.to_arrow().to_pylist()
        return {
            r["source"]: StoredDocument(r["digest"], r["origin"], tuple(r["stamp"])) for r in rows
        }

    def without_vector(self, ids: Sequence[str]) -> set[str]:
        """See `Writer`."""
        return set(ids) - {*_vectors(self._computed, ids), *_vectors(self._passages, ids)}

    def keep_computed(self, ids: Sequence[str], vectors: Vectors) -> None:
        """See `Writer`."""
        self._computed.add([{"id": i, "vector": v} for i, v in zip(ids, vectors, strict=True)])

    def publish(self, edition: Edition) -> None:
        """See `Writer`."""
        new = [p for _, passages in edition.new.values() for p in passages]
        ids = [p.id for p in new]
        known = {**_vectors(self._passages, ids), **_vectors(self._computed, ids)}
        left = [*edition.gone, *edition.new]
        _delete(self._passages, left)
        _delete(self._documents, [*left, *edition.restamped])
        held = {n: h for n, (h, _) in edition.new.items()} | dict(edition.restamped)
        documents = [
            {"source": n, "digest": h.digest, "origin": h.origin, "stamp": list(h.stamp)}
            for n, h in held.items()
        ]
        if documents:
            self._documents.add(documents)
        if new:
            self._passages.add([_row(p, known) for p in {p.id: p for p in new}.values()])
        self._follow()
        self._facts.update(edition.facts)
        versions = {"passages": self._passages.version, "documents": self._documents.version}
        self._store._point(self._facts, versions)
        self._computed.delete("true")

    def passages(self) -> int:
        """See `Writer`."""
        return int(self._passages.count_rows())

    def _follow(self) -> None:
        """Words are always indexed, vectors once there are many."""
        rows = self._passages.count_rows()
        there = {column for index in self._passages.list_indices() for column in index.columns}
        if rows and "words" not in there:
            self._passages.create_fts_index(
                "words", stem=self._settings.stemmer == "english", remove_stop_words=False
            )
        dense = "vector" in self._passages.schema.names
        if dense and rows >= GRAPH_FROM and "vector" not in there:
            self._passages.create_index(
                metric="dot",
                index_type="IVF_HNSW_SQ",
                num_partitions=1,
                ef_construction=100,
                vector_column_name="vector",
            )
        for table in (self._passages, self._documents):
            table.optimize(cleanup_older_than=KEPT)


def _row(p: Passage, known: dict[str, Vectors]) -> dict[str, Any]:
    row = {
        "id": p.id, "source": p.source, "text": p.text, "words": f"{p.header}\n{p.text}",
        "place": json.dumps(place_of(p)), "labels": labels_of(p),
    }  # fmt: skip
    return {**row, "vector": known[p.id]} if p.id in known else row


def _filtered(asked: Any, where: Where) -> Any:
    if not where:
        return asked
    parts = [f"array_has(labels, {_quoted(f'{k}={v}')})" for k, v in where]
    return asked.where(" AND ".join(parts), prefilter=True)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _parts(keys: Sequence[str]) -> Iterator[str]:
    for at in range(0, len(keys), AT_ONCE):
        yield ", ".join(map(_quoted, keys[at : at + AT_ONCE]))


def _rows(table: Any, column: str, keys: Sequence[str], wanted: list[str]) -> list[dict[str, Any]]:
    out = []
    for part in _parts(keys):
        asked = table.search().where(f"{column} IN ({part})").select(wanted).limit(None)
        out += asked.to_list()
    return out


def _vectors(table: Any, ids: Sequence[str]) -> dict[str, Vectors]:
    if "vector" not in table.schema.names:
        return {}
    rows = _rows(table, "id", ids, ["id", "vector"])
    return {r["id"]: np.array(r["vector"], np.float32) for r in rows if r["vector"] is not None}


def _delete(table: Any, sources: Sequence[str]) -> None:
    for part in _parts(sources):
        table.delete(f"source IN ({part})")
