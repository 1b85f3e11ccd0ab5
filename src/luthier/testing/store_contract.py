"""The contract of a store of indexes: complete versions, one writer, and nothing lost by a kill."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict

import numpy as np

from luthier.errors import StorageError, UserError
from luthier.retrieval.index_store import IndexStore, IndexUpdate, StoredDocument, Vectors
from luthier.retrieval.types import IndexSettings, Passage
from luthier.testing.expectations import expect, expect_close, expect_equal, expect_error

WIDTH = 32
SETTINGS = IndexSettings()
FACTS = {
    "settings": json.dumps(asdict(SETTINGS)), "fingerprint": "one", "embedder": "made by hand",
    "dimension": str(WIDTH), "probe": "",
}  # fmt: skip
ODD_TEXT = 'it\'s 100 % "odd" – naïve\ttext; DROP TABLE passages; --'
ORIGIN = ("/docs", (1, 2, 3, 4))  # where every document was found, and its stamp
Documents = dict[str, list[Passage]]


def sample_documents(count: int = 6, each: int = 10, *, first: int = 0) -> Documents:
    """Passages with ids, words and labels that tell them apart."""
    found: Documents = {}
    for d in range(first, first + count):
        name = f"docs/{d}'s.md"
        found[name] = [
            Passage(
                f"{d * 1000 + i:032x}", f"common text number{d}x{i} {ODD_TEXT}", name, i, i + 40,
                i + 1, ("Título", f"part {d}"), {"parity": "even" if i % 2 == 0 else "odd"},
            )
            for i in range(each)
        ]  # fmt: skip
    return found


def unit_vectors(count: int, seed: int) -> Vectors:
    """(count, WIDTH) float32, of length 1."""
    drawn = np.random.default_rng(seed).normal(size=(count, WIDTH))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def publish_documents(
    store: IndexStore, published: Documents, vectors: Vectors, **facts: str
) -> None:
    """Publish documents with these vectors, one for each passage in order."""
    ids = _ids(published)
    with store.writer(SETTINGS, lambda: WIDTH) as writer:
        expect_equal(writer.without_vector(ids), set(ids), "new passages have no vector")
        writer.keep_computed(ids, vectors)
        expect_equal(writer.without_vector(ids), set(), "kept vectors must count")
        new = {name: (StoredDocument(name, *ORIGIN), ps) for name, ps in published.items()}
        writer.publish(IndexUpdate(added=new, facts={**FACTS, **facts}))
        first = next(iter(published))
        expect_equal(
            writer.documents()[first], StoredDocument(first, *ORIGIN), "a document is kept"
        )


def exact_ranking(ids: list[str], vectors: Vectors, query: Vectors, k: int) -> list[str]:
    """The k ids of the largest inner products, computed here."""
    return [ids[i] for i in np.argsort(-(vectors @ query), kind="stable")[:k]]


class FactsThatKill(Mapping[str, str]):
    """Facts that raise KeyboardInterrupt when they are read, which a publication does last."""

    def __getitem__(self, key: str) -> str:
        raise KeyboardInterrupt

    def __iter__(self) -> Iterator[str]:
        raise KeyboardInterrupt

    def __len__(self) -> int:
        return 1


def check_store(open_it: Callable[[], IndexStore], *, concurrent_readers: bool = True) -> None:
    """Hold a store to its contract.

    **Arguments**

    - `open_it`: opens the store anew; the store is empty at first, and the same at every call.
    - `concurrent_readers`: whether readers may be at it while a run of indexing writes.
    """
    store = open_it()
    with expect_error(UserError, "an empty store has no index", saying="No index"), store.reader():
        pass
    published = sample_documents()
    ids = _ids(published)
    vectors, queries = unit_vectors(len(ids), 0), unit_vectors(5, 1)
    publish_documents(store, published, vectors)
    _check_reading(open_it(), published)
    _check_search(open_it(), published, vectors, queries)
    _check_one_writer(open_it)
    _check_failures(open_it, published)
    _check_search(open_it(), published, vectors, queries)
    _check_changes(open_it, published, vectors, concurrent_readers=concurrent_readers)


def _check_reading(store: IndexStore, published: Documents) -> None:
    ids, vectors = _ids(published), unit_vectors(len(_ids(published)), 0)
    with store.reader() as reader:
        expect(reader.facts().items() >= FACTS.items(), "facts must be read back")
        expect_equal(reader.counts(), (len(ids), len(published)), "passages and documents")
        some = [ids[7], ids[0], ids[-1]]
        by_id = _by_id(published)
        expect_equal(reader.passages(some), [by_id[i] for i in some], "in the order asked")
        with expect_error(KeyError, "an id that is not there"):
            reader.passages(["f" * 32])
        expect_close(reader.vectors(some)[ids[0]], vectors[0], "vectors", absolute=1e-6)


def _check_search(
    store: IndexStore, published: Documents, vectors: Vectors, queries: Vectors
) -> None:
    ids, by_id = _ids(published), _by_id(published)
    with store.reader() as reader:
        found = reader.nearest(queries, 10)
        for query, ranking in zip(queries, found, strict=True):
            expected = exact_ranking(ids, vectors, query, 10)
            expect_equal([i for i, _ in ranking], expected, "the nearest, best first")
            scores = [float(vectors[ids.index(i)] @ query) for i, _ in ranking]
            expect_close([s for _, s in ranking], scores, "inner products", absolute=1e-5)
        name = next(iter(published))
        odd = {i for i in ids if by_id[i].metadata["parity"] == "odd"}
        odd_of_first = {i for i in odd if by_id[i].source == name}
        for where, right in (
            ((("parity", "odd"),), odd),
            ((("source", name), ("parity", "odd")), odd_of_first),
        ):
            (ranking,) = reader.nearest(queries[:1], 100, where)
            expect_equal({i for i, _ in ranking}, right, f"the nearest where {where}")
            (ranking,) = reader.matching(["common"], 100, where)
            expect_equal({i for i, _ in ranking}, right, f"the matching where {where}")
        rare, common, none, empty = reader.matching(
            ["common number3x4", "texts, common", "nowhere", '"* -:('], 100
        )
        expect_equal(rare[0][0], published["docs/3's.md"][4].id, "a rare word must weigh more")
        expect(rare[0][1] > rare[1][1], "and the best must come first")
        expect_equal(len(common), len(ids), "words must be stemmed")
        expect_equal((none, empty), ([], []), "no shared word, no passage")


def _check_one_writer(open_it: Callable[[], IndexStore]) -> None:
    with (
        open_it().writer(SETTINGS, lambda: WIDTH),
        expect_error(StorageError, "a second writer must be refused", saying="in use by another"),
        open_it().writer(SETTINGS, lambda: WIDTH),
    ):
        pass


def _check_failures(open_it: Callable[[], IndexStore], published: Documents) -> None:
    """A run that dies leaves the last version; what it computed is kept until it is published."""
    more = sample_documents(2, first=50)
    ids = _ids(more)
    stopped = expect_error(KeyboardInterrupt, "the interrupt must come through")
    with stopped, open_it().writer(SETTINGS, lambda: WIDTH) as writer:
        writer.keep_computed(ids[:10], unit_vectors(10, 2))
        raise KeyboardInterrupt
    with open_it().writer(SETTINGS, lambda: WIDTH) as writer:
        expect_equal(writer.without_vector(ids), set(ids[10:]), "computed vectors must be kept")
    new = {name: (StoredDocument("x"), ps) for name, ps in more.items()}
    changed = {name: (StoredDocument("y"), ps[:3]) for name, ps in list(published.items())[:2]}
    dying = IndexUpdate(
        removed=[list(published)[-1]], added={**new, **changed}, facts=FactsThatKill()
    )
    stopped = expect_error(KeyboardInterrupt, "the interrupt must come through")
    with stopped, open_it().writer(SETTINGS, lambda: WIDTH) as writer:
        writer.publish(dying)
    with open_it().writer(SETTINGS, lambda: WIDTH) as writer:
        before = {n: StoredDocument(n, *ORIGIN) for n in published}
        expect_equal(writer.documents(), before, "a killed publication must change nothing")


def _check_changes(
    open_it: Callable[[], IndexStore],
    published: Documents,
    vectors: Vectors,
    *,
    concurrent_readers: bool,
) -> None:
    """One document goes, one is changed, one is found to be of another source."""
    gone, changed, moved, *rest = published
    kept = published[changed][:4]
    elsewhere = StoredDocument(moved, "/elsewhere", (5, 6, 7, 8))
    update = IndexUpdate(
        removed=[gone],
        added={changed: (StoredDocument("new"), kept)},
        restamped={moved: elsewhere},
        facts={"fingerprint": "two"},
    )
    count = 4 + 10 * (1 + len(rest))
    with open_it().writer(SETTINGS, lambda: WIDTH) as writer:
        expect_equal(writer.without_vector([p.id for p in kept]), set(), "known vectors stay")
        writer.keep_computed(["e" * 32], unit_vectors(1, 9))
        with open_it().reader() if concurrent_readers else nullcontext() as before:
            counts = before.counts() if before is not None else None
            writer.publish(update)
            if before is not None:
                expect_equal(before.counts(), counts, "a reader stays with its version")
                expect(before.passages([published[gone][0].id]), "and with its passages")
        expect_equal(writer.documents()[moved], elsewhere, "a document's source may change")
        wanted = {**FACTS, "fingerprint": "two"}
        expect(writer.facts().items() >= wanted.items(), "facts are written beside the others")
        expect_equal(writer.passages(), count, "passages after the change")
    with open_it().reader() as reader:
        expect_equal(reader.counts(), (count, len(published) - 1), "passages and documents")
        every = _ids(published)
        left = [p.id for p in kept] + [p.id for n in (moved, *rest) for p in published[n]]
        rows = vectors[[every.index(i) for i in left]]
        query = unit_vectors(1, 3)
        (ranking,) = reader.nearest(query, 10)
        expected = exact_ranking(left, rows, query[0], 10)
        expect_equal([i for i, _ in ranking], expected, "the nearest after the change")
        matching = {i for i, _ in reader.matching(["common"], 100)[0]}
        expect_equal(matching, set(left), "the matching after the change")
        expect_equal(reader.matching(["number0x1"], 5), [[]], "what is gone is not found")


def _ids(published: Documents) -> list[str]:
    return [p.id for passages in published.values() for p in passages]


def _by_id(published: Documents) -> dict[str, Passage]:
    return {p.id: p for passages in published.values() for p in passages}
