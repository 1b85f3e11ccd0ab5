"""Make an index of documents, or bring one up to date."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from luthier.errors import UserError
from luthier.ledger.artifacts import write_text
from luthier.retrieval.embed.minilm import MiniLM
from luthier.retrieval.records import IndexListener, IndexReport, IndexSettings, Passage

TEXT = {".txt", ".md", ".markdown", ".rst", ".py"}


def build_index(
    sources: Sequence[str | Path],
    into: str | Path,
    *,
    settings: IndexSettings | None = None,
    listener: IndexListener | None = None,
) -> IndexReport:
    """Index files, folders and globs; what the index held of other documents goes."""
    started = time.monotonic()
    settings = settings or IndexSettings()
    passages: list[Passage] = []
    files = list(_files(sources))
    if not files:
        raise UserError(f"No documents in {', '.join(map(str, sources))}")
    for name, path in files:
        passages.extend(_passages(name, path, settings))
    vectors = MiniLM().embed([p.text for p in passages])
    into = Path(into)
    into.mkdir(parents=True, exist_ok=True)
    rows = [asdict(p) | {"vector": v.tolist()} for p, v in zip(passages, vectors, strict=True)]
    write_text(into / "index.json", json.dumps({"files": len(files), "rows": rows}))
    return IndexReport(
        len(files), 0, 0, 0, len(passages), len(passages), (), time.monotonic() - started
    )


def _files(sources: Sequence[str | Path]) -> Iterator[tuple[str, Path]]:
    for source in sources:
        base = Path(source)
        if base.is_file():
            yield base.name, base
        elif base.is_dir():
            for path in sorted(p for p in base.rglob("*") if p.is_file()):
                yield f"{base.name}/{path.relative_to(base).as_posix()}", path
        else:
            for path in sorted(p for p in Path().glob(str(source)) if p.is_file()):
                yield path.as_posix(), path


def _passages(name: str, path: Path, settings: IndexSettings) -> Iterator[Passage]:
    if path.suffix == ".jsonl":
        texts = [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]
    elif path.suffix in TEXT:
        texts = [path.read_text("utf-8")]
    else:
        return
    at = 0
    for text in texts:
        for begin in range(0, len(text), settings.chunk_characters):
            piece = text[begin : begin + settings.chunk_characters]
            start = at + begin
            key = hashlib.sha256(f"{name}\0{start}\0{piece}".encode()).hexdigest()[:24]
            yield Passage(key, piece, name, start, start + len(piece))
        at += len(text) + 2
