"""Nearest neighbours: recall, speed, size. `python -m benchmarks.retrieval.stores VECTORS.npy`.

The file holds unit vectors (N + queries, H); the last ones are the queries. Methods take turns, one
query at a time, so that a busy machine is busy for all of them; exact search is the oracle.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from luthier.retrieval.index_store import IndexUpdate, StoredDocument, Vectors
from luthier.retrieval.stores import open_store
from luthier.retrieval.types import IndexSettings, Passage

Search = Callable[[Vectors], list[int]]
K = 10


def methods(vectors: Vectors, names: list[str], folder: Path) -> Iterator[dict[str, Any]]:
    """Build each method that is asked for; entries hold its search."""
    builders = {
        "numpy": _numpy, "faiss flat": _flat, "sqlite": _store, "lancedb": _store,
        "usearch f16": _usearch,
        **{f"faiss {kind}": _faiss for kind in ("HNSW32", "HNSW32,SQfp16", "HNSW32,SQ8")},
    }  # fmt: skip
    for name in names or builders:
        began, cpu = time.perf_counter(), time.process_time()
        built = builders[name](vectors, name, folder)
        yield {
            "name": name, "build_seconds": time.perf_counter() - began,
            "build_cpu_seconds": time.process_time() - cpu, **built,
        }  # fmt: skip


def _numpy(vectors: Vectors, name: str, folder: Path) -> dict[str, Any]:
    from luthier.retrieval.stores.dense import exact_nearest

    numbers = np.arange(len(vectors))
    return {
        "bytes": vectors.nbytes,
        "search": lambda q: [n for n, _ in exact_nearest(numbers, vectors, q, K)],
    }


def _flat(vectors: Vectors, name: str, folder: Path) -> dict[str, Any]:
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return {"bytes": vectors.nbytes, "search": lambda q: index.search(q[None], K)[1][0].tolist()}


def _faiss(vectors: Vectors, name: str, folder: Path) -> dict[str, Any]:
    import faiss

    kind = name.removeprefix("faiss ")
    index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    if not index.is_trained:
        index.train(vectors[:20_000])
    index.add(vectors)
    index.hnsw.efSearch = 128
    path = folder / "graph.faiss"
    faiss.write_index(index, str(path))
    return {
        "bytes": path.stat().st_size,
        "search": lambda q: index.search(q[None], K)[1][0].tolist(),
    }


def _usearch(vectors: Vectors, name: str, folder: Path) -> dict[str, Any]:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16", connectivity=32,
                  expansion_add=100, expansion_search=128)  # fmt: skip
    index.add(np.arange(len(vectors)), vectors, threads=1)
    path = folder / "graph.usearch"
    index.save(str(path))
    return {"bytes": path.stat().st_size, "search": lambda q: index.search(q, K).keys.tolist()}


def _store(vectors: Vectors, name: str, folder: Path) -> dict[str, Any]:
    """A store as users have it: through the protocol, ids and exact scores included."""
    place = folder / name
    store = open_store(place if name == "sqlite" else f"lancedb://{place}")
    passages = [Passage(f"{i:032x}", f"text {i}", "all", i, i + 1) for i in range(len(vectors))]
    width = vectors.shape[1]
    with store.writer(IndexSettings(), lambda: width) as writer:
        for at in range(0, len(vectors), 10_000):
            part = [p.id for p in passages[at : at + 10_000]]
            writer.keep_computed(part, vectors[at : at + 10_000])
        facts = {"fingerprint": "0" * 16, "dimension": str(width), "settings": "{}"}
        writer.publish(IndexUpdate(added={"all": (StoredDocument("x"), passages)}, facts=facts))
    entered = store.reader()
    reader = entered.__enter__()  # for as long as the measurement goes
    return {
        "bytes": store.bytes(),
        "search": lambda q: [int(i, 16) for i, _ in reader.nearest(q[None], K)[0]],
        "open": entered,
    }


def measured(vectors: Vectors, queries: Vectors, names: list[str], rounds: int) -> list[Any]:
    """Entries with recall@10 and queries a second, the methods taking turns."""
    right = np.argsort(-(queries @ vectors.T), axis=1)[:, :K]
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for entry in methods(vectors, names, Path(folder)):
            entry["search"](queries[0])
            made.append(entry)
            print(entry["name"], round(entry["build_seconds"], 1), flush=True)
        seconds: dict[str, list[float]] = {e["name"]: [] for e in made}
        cpu: dict[str, list[float]] = {e["name"]: [] for e in made}
        found: dict[str, list[float]] = {e["name"]: [] for e in made}
        each = len(queries) // rounds
        for at in range(0, each * rounds, each):
            for entry in made:
                began, used = time.perf_counter(), time.process_time()
                got = [entry["search"](q) for q in queries[at : at + each]]
                seconds[entry["name"]].append(time.perf_counter() - began)
                cpu[entry["name"]].append(time.process_time() - used)
                found[entry["name"]] += [
                    len(set(g) & set(r.tolist())) / K
                    for g, r in zip(got, right[at : at + each], strict=True)
                ]
        for entry in made:
            name = entry["name"]
            entry["recall@10"] = float(np.mean(found[name]))
            entry["queries_per_second"] = each / float(np.median(seconds[name]))
            entry["queries_per_cpu_second"] = each / float(np.median(cpu[name]))
            entry.pop("search")
            if "open" in entry:
                entry.pop("open").__exit__(None, None, None)
        return made


def main() -> None:
    """Print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    every = np.load(asked.vectors).astype(np.float32)
    vectors, queries = every[: -asked.queries], every[-asked.queries :]
    made = measured(vectors, queries, asked.only, asked.rounds)
    told = {"vectors": len(vectors), "width": vectors.shape[1], "k": K, "methods": made}
    asked.out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    for e in made:
        print(
            f"| {e['name']} | {e['recall@10']:.3f} | {e['queries_per_second']:.0f} | "
            f"{e['build_seconds']:.0f} | {e['bytes'] / 1e6:.0f} |"
        )


if __name__ == "__main__":
    main()
