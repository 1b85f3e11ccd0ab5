"""The contract of a store of indexes, for ours and a plugin's: `check_store(open_it)`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict

import numpy as np
import pytest

from luthier.errors import StorageError, UserError
from luthier.retrieval.index_store import Edition, IndexStore, StoredDocument, Vectors
from luthier.retrieval.types import IndexSettings, Passage

WIDTH = 32
SETTINGS = IndexSettings()
FACTS = {
    "settings": json.dumps(asdict(SETTINGS)), "fingerprint": "one", "embedder": "made by hand",
    "dimension": str(WIDTH), "probe": "",
}  # fmt: skip
ODD = 'it\'s 100 % "odd" – naïve\ttext; DROP TABLE passages; --'
Documents = dict[str, list[Passage]]


def documents(count: int = 6, each: int = 10, *, first: int = 0) -> Documents:
    """Passages with ids, words and labels that tell them apart."""
    made: Documents = {}
    for d in range(first, first + count):
        name = f"docs/{d}'s.md"
        made[name] = [
            Passage(
                f"{d * 1000 + i:032x}", f"common text number{d}x{i} {ODD}", name, i, i + 40,
                i + 1, ("Título", f"part {d}"), {"parity": "even" if i % 2 == 0 else "odd"},
            )
            for i in range(each)
        ]  # fmt: skip
    return made


def unit_vectors(count: int, seed: int) -> Vectors:
    """(count, WIDTH) float32, of length 1."""
    drawn = np.random.default_rng(seed).normal(size=(count, WIDTH))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def write(store: IndexStore, made: Documents, vectors: Vectors, **facts: str) -> None:
    """Publish documents with these vectors, in order."""
    ids = [p.id for passages in made.values() for p in passages]
    with store.writing(SETTINGS, lambda: WIDTH) as writer:
        assert writer.without_vector(ids) == set(ids)
        writer.keep_computed(ids, vectors)
        assert writer.without_vector(ids) == set()
        new = {name: (StoredDocument(name, "/docs", (1, 2, 3, 4)), ps) for name, ps in made.items()}
        writer.publish(Edition(new=new, facts={**FACTS, **facts}))
        assert writer.held()[next(iter(made))] == StoredDocument(
            next(iter(made)), "/docs", (1, 2, 3, 4)
        )


def top(ids: list[str], vectors: Vectors, query: Vectors, k: int) -> list[str]:
    """The oracle: exact inner products."""
    return [ids[i] for i in np.argsort(-(vectors @ query), kind="stable")[:k]]


class Dying(Mapping[str, str]):
    """Facts that are the last thing a publication writes: who reads them dies there."""

    def __getitem__(self, key: str) -> str:
        raise KeyboardInterrupt

    def __iter__(self) -> Iterator[str]:
        raise KeyboardInterrupt

    def __len__(self) -> int:
        return 1


def check_store(open_it: Callable[[], IndexStore], *, many: bool = True) -> None:
    """Hold a store, empty at first, to its contract. `many`: readers may be at it beside a run."""
    store = open_it()
    with pytest.raises(UserError, match="No index"), store.reading():
        pass
    made = documents()
    ids = [p.id for passages in made.values() for p in passages]
    vectors, queries = unit_vectors(len(ids), 0), unit_vectors(5, 1)
    write(store, made, vectors)
    _check_search(open_it(), made, ids, vectors, queries)
    _check_one_writer(open_it)
    _check_failures(open_it, made)
    _check_search(open_it(), made, ids, vectors, queries)
    _check_changes(open_it, made, vectors, many=many)


def _check_search(
    store: IndexStore, made: Documents, ids: list[str], vectors: Vectors, queries: Vectors
) -> None:
    with store.reading() as reader:
        assert reader.facts().items() >= FACTS.items()
        assert reader.counts() == (len(ids), len(made))
        some = [ids[7], ids[0], ids[-1]]
        by_id = {p.id: p for passages in made.values() for p in passages}
        assert reader.passages(some) == [by_id[i] for i in some]
        with pytest.raises(KeyError):
            reader.passages(["f" * 32])
        np.testing.assert_allclose(reader.vectors(some)[ids[0]], vectors[0], atol=1e-6)
        found = reader.nearest(queries, 10)
        for query, ranking in zip(queries, found, strict=True):
            assert [i for i, _ in ranking] == top(ids, vectors, query, 10)
            expected = [float(vectors[ids.index(i)] @ query) for i, _ in ranking]
            assert [s for _, s in ranking] == pytest.approx(expected, abs=1e-5)
        name = next(iter(made))
        for where, fits in (
            ((("parity", "odd"),), lambda p: p.metadata["parity"] == "odd"),
            ((("source", name), ("parity", "odd")), lambda p: p.source == name and p.start % 2),
        ):
            right = {i for i in ids if fits(by_id[i])}
            (ranking,) = reader.nearest(queries[:1], 100, where)
            assert {i for i, _ in ranking} == right
            (ranking,) = reader.matching(["common"], 100, where)
            assert {i for i, _ in ranking} == right
        rare, common, none, empty = reader.matching(
            ["common number3x4", "texts, common", "nowhere", '"* -:('], 100
        )
        assert rare[0][0] == made["docs/3's.md"][4].id, "a rare word weighs more"
        assert rare[0][1] > rare[1][1]
        assert len(common) == len(ids), "words are stemmed"
        assert none == empty == []


def _check_one_writer(open_it: Callable[[], IndexStore]) -> None:
    with (
        open_it().writing(SETTINGS, lambda: WIDTH),
        pytest.raises(StorageError, match="in use by another"),
        open_it().writing(SETTINGS, lambda: WIDTH),
    ):
        pass


def _check_failures(open_it: Callable[[], IndexStore], made: Documents) -> None:
    """A run that dies leaves the last version; what it computed is kept until it is published."""
    more = documents(2, first=50)
    ids = [p.id for passages in more.values() for p in passages]

    def stopped() -> None:
        with open_it().writing(SETTINGS, lambda: WIDTH) as writer:
            writer.keep_computed(ids[:10], unit_vectors(10, 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    with open_it().writing(SETTINGS, lambda: WIDTH) as writer:
        assert writer.without_vector(ids) == set(ids[10:])
    new = {name: (StoredDocument("x"), ps) for name, ps in more.items()}
    changed = {name: (StoredDocument("y"), ps[:3]) for name, ps in list(made.items())[:2]}
    dying = Edition(gone=[list(made)[-1]], new={**new, **changed}, facts=Dying())
    with pytest.raises(KeyboardInterrupt), open_it().writing(SETTINGS, lambda: WIDTH) as writer:
        writer.publish(dying)
    with open_it().writing(SETTINGS, lambda: WIDTH) as writer:
        assert writer.held() == {n: StoredDocument(n, "/docs", (1, 2, 3, 4)) for n in made}


def _check_changes(
    open_it: Callable[[], IndexStore], made: Documents, vectors: Vectors, *, many: bool
) -> None:
    """One document goes, one is changed, one is said to be of another source."""
    gone, changed, moved, *rest = made
    kept = made[changed][:4]
    edition = Edition(
        gone=[gone], new={changed: (StoredDocument("new"), kept)},
        restamped={moved: StoredDocument(moved, "/elsewhere", (5, 6, 7, 8))}, facts={"fingerprint": "two"},
    )  # fmt: skip

    with open_it().writing(SETTINGS, lambda: WIDTH) as writer:
        assert writer.without_vector([p.id for p in kept]) == set()
        writer.keep_computed(["e" * 32], unit_vectors(1, 9))
        with open_it().reading() if many else nullcontext() as before:
            count = before.counts() if before is not None else None
            writer.publish(edition)
            if before is not None:
                assert before.counts() == count, "a reader stays with its version"
                assert before.passages([made[gone][0].id])
        assert writer.held()[moved] == StoredDocument(moved, "/elsewhere", (5, 6, 7, 8))
        assert writer.facts().items() >= {**FACTS, "fingerprint": "two"}.items()
        assert writer.passages() == 4 + 10 * (1 + len(rest))
    with open_it().reading() as reader:
        assert reader.counts() == (4 + 10 * (1 + len(rest)), len(made) - 1)
        every = [p.id for passages in made.values() for p in passages]
        left = [p.id for p in kept] + [p.id for n in (moved, *rest) for p in made[n]]
        rows = vectors[[every.index(i) for i in left]]
        query = unit_vectors(1, 3)
        (ranking,) = reader.nearest(query, 10)
        assert [i for i, _ in ranking] == top(left, rows, query[0], 10)
        assert {i for i, _ in reader.matching(["common"], 100)[0]} == set(left)
        assert reader.matching(["number0x1"], 5) == [[]]
