"""What doubles when the input doubles: data, leaks, indexing, search, report, ledger.

    python -m benchmarks.linear [--quick]

Prints the processor seconds and the peak memory of each job at n and at 2n, and writes them to
results/plans/linear.json. A job that is linear doubles; "worse than twice" stands behind one that
takes more than 2.5 times as long (rounding is no growth). Each measurement is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "plans" / "linear.json"
WORSE = 2.5
WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe", "ri", "so", "tu") for b in (
    "bar", "den", "fil", "gor", "hap", "jin", "kes", "lum", "mon", "nop")]  # fmt: skip


def text(words: int, seed: int, end: str = " ") -> str:
    """So many random words."""
    rng = random.Random(seed)
    return end.join(rng.choice(WORDS) + str(rng.randrange(1000)) for _ in range(words))


def csv_file(folder: Path, rows: int, words: int = 30) -> Path:
    """A CSV file of texts with three labels."""
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("message,queue\n")
        for number in range(rows):
            file.write(f"{text(words, number)},{'abc'[number % 3]}\n")
    return path


def job_data(folder: Path, size: int) -> Callable[[], object]:
    """Reading a CSV file of `size` rows into a task, leak check and splits included."""
    from luthier.task.task import Task

    csv_file(folder, size)
    (folder / "t.yaml").write_text(
        "instruction: Route.\ndata: rows.csv\ninput: message\ntarget: queue\nlabels: [a, b, c]\n"
    )
    return lambda: Task.load(folder / "t.yaml")


def job_large_cells(folder: Path, size: int) -> Callable[[], object]:
    """The same with cells of about 5,000 characters: `size` megabytes in all."""
    from luthier.task.task import Task

    csv_file(folder, size * 200, words=550)
    (folder / "t.yaml").write_text(
        "instruction: Route.\ndata: rows.csv\ninput: message\ntarget: queue\nlabels: [a, b, c]\n"
    )
    return lambda: Task.load(folder / "t.yaml")


def job_documents(folder: Path, size: int) -> Callable[[], object]:
    """Indexing `size` Markdown documents of 300 words."""
    from luthier.retrieval import IndexSettings, build_index

    (folder / "docs").mkdir()
    for number in range(size):
        (folder / "docs" / f"{number}.md").write_text(f"# {number}\n\n{text(300, number)}\n")
    settings = IndexSettings(embedder="none")
    return lambda: build_index([folder / "docs"], folder / "index", settings=settings)


def job_line(folder: Path, size: int) -> Callable[[], object]:
    """Indexing one line of `size` kilobytes."""
    from luthier.retrieval import IndexSettings, build_index

    (folder / "a.txt").write_text(text(size * 105, 0))
    settings = IndexSettings(embedder="none")
    return lambda: build_index([folder / "a.txt"], folder / "index", settings=settings)


def job_unbroken(folder: Path, size: int) -> Callable[[], object]:
    """Indexing `size` kilobytes without a space."""
    from luthier.retrieval import IndexSettings, build_index

    (folder / "a.txt").write_text("x" * (size * 1000))
    settings = IndexSettings(embedder="none")
    return lambda: build_index([folder / "a.txt"], folder / "index", settings=settings)


def job_search(folder: Path, size: int) -> Callable[[], object]:
    """Two hundred searches by words among `size` documents."""
    from luthier.retrieval import SearchSettings, open_index

    job_documents(folder, size)()
    index = open_index(folder / "index")
    questions = [text(8, seed) for seed in range(200)]
    return lambda: index.search(questions, SearchSettings(mode="lexical"))


def compared(folder: Path, size: int) -> Path:
    """The run folder of a comparison with `size` test examples."""
    import luthier

    rows = [{"q": text(12, n), "a": "abc"[n % 3]} for n in range(size * 2)]
    task = luthier.Task.from_examples(
        rows, name="grown", instruction="Route.", input="q", target="a", labels=["a", "b", "c"],
        split={"train": 0.25, "dev": 0.25, "test": 0.5},
    )  # fmt: skip
    options = luthier.Options(references=False)
    luthier.compare(
        task, "fake", techniques="zero-shot,few-shot", budget="50ktok", seeds=1,
        out=folder / "run", options=options,
    )  # fmt: skip
    return folder / "run"


def job_ledger(folder: Path, size: int) -> Callable[[], object]:
    """Rebuilding a comparison of `size` test examples from its ledger, statistics included."""
    from luthier.compare.comparison import Comparison

    run = compared(folder, size)
    return lambda: Comparison.load(run)


def job_report(folder: Path, size: int) -> Callable[[], object]:
    """Writing the report of the same comparison."""
    from luthier.compare.comparison import Comparison
    from luthier.report import write_html

    comparison = Comparison.load(compared(folder, size))
    return lambda: write_html(comparison, folder / "page.html")


# job: (function, n, n of --quick)
JOBS: dict[str, tuple[Callable[[Path, int], Callable[[], object]], int, int]] = {
    "data: rows": (job_data, 10_000, 1000),
    "data: MB of long cells": (job_large_cells, 10, 2),
    "index: documents": (job_documents, 1000, 100),
    "index: KB of one line": (job_line, 4000, 500),
    "index: KB without a space": (job_unbroken, 4000, 500),
    "search: documents": (job_search, 1000, 100),
    "ledger: test examples": (job_ledger, 2000, 200),
    "report: test examples": (job_report, 2000, 200),
}  # fmt: skip


def measure(name: str, size: int) -> tuple[float, float]:
    """(processor seconds, MB at the peak) of one job, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.linear", "--job", name, "--size", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
    return float(seconds), float(megabytes)


def processor_seconds() -> float:
    """Processor time of this process and of those it has waited for: a busy machine adds none."""
    return sum(os.times()[:4])


def run_job(name: str, size: int) -> None:
    """Prepare a job, run it, and print its processor seconds and the memory it added."""
    import resource

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    with tempfile.TemporaryDirectory() as scratch:
        work = JOBS[name][0](Path(scratch), size)
        before, began = peak(), processor_seconds()
        kept = work()  # alive until memory is measured
        seconds = processor_seconds() - began
        print(json.dumps([seconds, peak() - before]))
        del kept


def main() -> int:
    """Print the table; exit code 1 where a job is worse than twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.linear")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--job")
    parser.add_argument("--size", type=int)
    options = parser.parse_args()
    if options.job:
        run_job(options.job, options.size)
        return 0
    rows = []
    head = ("n", "s at n", "s at 2n", "times", "MB at n", "MB at 2n")
    print(f"{'job':28}" + "".join(f"{h:>10}" for h in head))
    for name, (_, usual, quick) in JOBS.items():
        size = quick if options.quick else usual
        (first, small), (second, large) = measure(name, size), measure(name, 2 * size)
        ratio = second / max(first, 0.01)
        note = "  worse than twice" if ratio > WORSE else ""
        print(
            f"{name:28}{size:10,}{first:10.2f}{second:10.2f}{ratio:10.2f}{small:10,.0f}"
            f"{large:10,.0f}{note}",
            flush=True,
        )
        rows.append(
            {"job": name, "n": size, "seconds": [first, second], "megabytes": [small, large]}
        )
    if not options.quick:
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    return int(any(r["seconds"][1] > WORSE * max(r["seconds"][0], 0.01) for r in rows))


if __name__ == "__main__":
    sys.exit(main())
