"""LanceDB in a folder: two tables with versions, and one small file that says which ones count.

Publishing writes new versions of both tables and then that file, in one rename. A run that was
killed before leaves versions that nothing refers to; the next run restores the ones that count.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.errors import StorageError, UserError, from_extra
from luthier.ledger.lock import folder_lock
from luthier.ledger.storage_errors import storage_error
from luthier.retrieval.index_store import Dimension
from luthier.retrieval.stores.lance_tables import LanceReader, LanceWriter
from luthier.retrieval.types import IndexSettings

VERSION = 1  # of the format
POINTER = "current.json"


class LanceStore:
    """An index in a folder, `lancedb://FOLDER`."""

    name = "lancedb"

    def __init__(self, address: str) -> None:
        self.folder = Path(address.removeprefix("lancedb://"))
        self.address = f"lancedb://{self.folder}"

    @contextmanager
    def reader(self) -> Iterator[LanceReader]:
        """The versions that count now."""
        with self._storage_errors():
            current = self._current()
            if current is None:
                raise UserError(
                    f"No index in {self.address}",
                    next_step=f"Make one: luthier index docs/ --into {self.address}",
                )
            tables = {}
            db = _connect(self.folder)
            for name in ("passages", "documents"):
                tables[name] = db.open_table(name)
                tables[name].checkout(current[name])
            yield LanceReader(tables["passages"], tables["documents"], current["facts"])

    @contextmanager
    def writer(self, settings: IndexSettings, dimension: Dimension) -> Iterator[LanceWriter]:
        """The lock ends with the process that has it."""
        with self._storage_errors(), folder_lock(self.folder, option="--into"):
            current = self._current()
            db = _connect(self.folder)
            if current is None:
                versions = _create(db, None if dimension is None else dimension())
                self.write_pointer({}, versions)
                current = self._current()
                assert current is not None
            else:
                for name in ("passages", "documents"):
                    table = db.open_table(name)
                    if table.version != current[name]:
                        table.checkout(current[name])
                        table.restore()
                        current[name] = table.version
                self.write_pointer(current["facts"], current)
            yield LanceWriter(self, db, current["facts"], settings)

    def bytes(self) -> int | None:
        """The bytes of the whole folder."""
        return sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())

    def _current(self) -> dict[str, Any] | None:
        path = self.folder / POINTER
        if not path.is_file():
            return None
        pointer: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if pointer["version"] > VERSION:
            raise StorageError(
                f"The index in {self.address} is of version {pointer['version']}, newer than this "
                f"luthier reads ({VERSION})",
                next_step="Update luthier, or build the index again in another folder.",
            )
        return pointer

    def write_pointer(self, facts: dict[str, str], versions: dict[str, int]) -> None:
        """Make these versions of the tables the ones that count, by one rename."""
        pointer = {
            "version": VERSION, "facts": facts,
            "passages": versions["passages"], "documents": versions["documents"],
        }  # fmt: skip
        scratch = self.folder / f".{POINTER}"
        with scratch.open("w", encoding="utf-8") as file:
            json.dump(pointer, file)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(self.folder / POINTER)

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # LanceDB raises both
            raise storage_error(self.folder, error, option="--into") from error
        except ValueError as error:
            if "lance" not in str(error).lower() and not isinstance(error, json.JSONDecodeError):
                raise
            raise StorageError(
                f"{self.address} is not an index, or is damaged ({str(error).splitlines()[0]})",
                next_step="Move it away, or choose another --into folder.",
            ) from error


def _connect(folder: Path) -> Any:
    for name in ("LANCE_LOG", "LANCEDB_LOG"):  # LanceDB warns about every new table
        os.environ.setdefault(name, "error")
    with from_extra("lancedb", "LanceDB is not installed"):
        import lancedb
    return lancedb.connect(str(folder / "tables"))


def _create(db: Any, dimension: int | None) -> dict[str, int]:
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
    versions = {}
    for name, schema in (("passages", columns), ("documents", documents), ("computed", computed)):
        table = db.create_table(name, schema=pa.schema(schema), mode="overwrite")
        versions[name] = table.version
    return versions
