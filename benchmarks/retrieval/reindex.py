"""What indexing again costs when few files changed: `python -m benchmarks.retrieval.reindex`.

Documents are made of words drawn at random; the share reported is seconds of the second run over
seconds of the first: of the clock, as `IndexReport` tells them, and of the processor.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from luthier.retrieval import IndexReport, IndexSettings, build_index


def measured(
    files: int, changed: int, length: int, embedder: str, folder: Path
) -> dict[str, object]:
    """Build, index again unchanged, change some files, index again."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(5000)]

    def text() -> str:
        return f"# {draw.choice(words)}\n\n" + " ".join(draw.choices(words, k=length)) + "\n"

    docs = folder / "docs"
    for i in range(files):
        place = docs / f"{i // 100:03}" / f"{i:05}.md"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text(), "utf-8")
    time.sleep(3)  # what was written in the last two seconds would rightly be read again
    settings = IndexSettings(embedder=embedder)
    first, first_cpu = _timed(docs, folder, settings)
    same, same_cpu = _timed(docs, folder, settings)
    for i in draw.sample(range(files), changed):
        (docs / f"{i // 100:03}" / f"{i:05}.md").write_text(text(), "utf-8")
    again, again_cpu = _timed(docs, folder, settings)
    assert (first.added, same.unchanged, again.changed) == (files, files, changed)
    return {
        "files": files, "changed": changed, "words_a_file": length, "embedder": embedder,
        "passages": first.passages,
        "first_seconds": first.seconds, "unchanged_seconds": same.seconds,
        "again_seconds": again.seconds, "share": again.seconds / first.seconds,
        "first_cpu_seconds": first_cpu, "unchanged_cpu_seconds": same_cpu,
        "again_cpu_seconds": again_cpu, "cpu_share": again_cpu / first_cpu,
    }  # fmt: skip


def _timed(docs: Path, folder: Path, settings: IndexSettings) -> tuple[IndexReport, float]:
    began = time.process_time()
    report = build_index([docs], folder / "index", settings=settings)
    return report, time.process_time() - began


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--changed", type=int, default=10)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--embedder", default="none")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given = (asked.files, asked.changed, asked.words, asked.embedder)
        print(json.dumps(measured(*given, Path(folder))))


if __name__ == "__main__":
    main()
