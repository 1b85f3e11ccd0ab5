"""Measure a model folder on tasks it never saw, with transformers alone (but for LoRA).

Every number comes with the number of queries, chance, and a 95 % interval (bootstrap over draws and
queries). A label's score is the sum of the log-probabilities of its tokens; *calibrated* subtracts
the mean score of the same label for content-free inputs (Zhao et al. 2021).
"""

from __future__ import annotations

import concurrent.futures
import csv
import dataclasses
import multiprocessing
import random
import re
import time
from pathlib import Path
from typing import Any

import torch

from pretraining.measuring import calls, reading, running, tuning
from pretraining.measuring.scorers import Scorer, open_scorer
from pretraining.texts import corpus

CONTENT_FREE = ("N/A", "[MASK]", "")
Row = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Draw:
    """One prompt setting: labels, demonstrations, queries."""

    instruction: str
    labels: list[str]
    demonstrations: list[Row]
    queries: list[Row]


def shared_prompt(d: Draw) -> str:
    """The project's default prompt, up to the query."""
    blocks = [d.instruction] if d.instruction else []
    blocks.append("Labels: " + ", ".join(d.labels))
    blocks += [f"Input: {x}\nLabel: {y}" for x, y in d.demonstrations]
    return "\n\n".join(blocks) + "\n\n"


def run(scorer: Scorer, draws: list[Draw]) -> dict[str, float]:
    """Accuracy plain and calibrated, chance, and half-widths of 95 % intervals over queries."""
    plain, calibrated = [], []
    for d in draws:
        shared = scorer.start(shared_prompt(d))
        ask = "Input: {}\nLabel:"
        free = [scorer.scores(shared, ask.format(c), d.labels) for c in CONTENT_FREE]
        bias = [sum(column) / len(free) for column in zip(*free, strict=True)]
        a, b = [], []
        for text, label in d.queries:
            s = scorer.scores(shared, ask.format(text), d.labels)
            t = [x - y for x, y in zip(s, bias, strict=True)]
            a.append(d.labels[s.index(max(s))] == label)
            b.append(d.labels[t.index(max(t))] == label)
        plain.append(a)
        calibrated.append(b)
    n = sum(len(a) for a in plain)
    chance = sum(1 / len(d.labels) for d in draws) / len(draws)
    return {
        "accuracy": _mean(plain),
        "interval": _interval(plain),
        "calibrated": _mean(calibrated),
        "calibrated_interval": _interval(calibrated),
        "chance": chance,
        "queries": n,
        "draws": len(draws),
    }


def _mean(rows: list[list[bool]]) -> float:
    return sum(sum(r) for r in rows) / sum(len(r) for r in rows)


def _interval(rows: list[list[bool]], rounds: int = 1000) -> float:
    """Half the width of the 95 % interval, resampling draws and then queries within them."""
    draw = random.Random(0)
    means = sorted(
        _mean([draw.choices(r, k=len(r)) for r in draw.choices(rows, k=len(rows))])
        for _ in range(rounds)
    )
    return (means[int(0.975 * rounds)] - means[int(0.025 * rounds)]) / 2


def banking(data: Path, draw: random.Random, queries: int) -> Draw:
    """Six intents drawn from banking77, three demonstrations each."""
    rows = {"train": [], "test": []}  # type: dict[str, list[Row]]
    for split in rows:
        with (data / f"data/banking77/{split}.csv").open(encoding="utf-8", newline="") as lines:
            rows[split] = [
                (r["text"].replace("\n", " ").strip(), r["category"]) for r in csv.DictReader(lines)
            ]
    labels = draw.sample(sorted({y for _, y in rows["test"]}), 6)
    return _few(
        draw,
        "Classify the customer's message.",
        labels,
        rows["train"],
        rows["test"],
        3,
        queries,
        str,
    )


def clinc(data: Path, draw: random.Random, queries: int) -> Draw:
    """Six intents of the domain that was held out of CLINC150, three demonstrations each."""
    keep = corpus.EVALUATION_CLINC_DOMAIN
    train, test = (
        [(t.text, t.label or "") for t in corpus.clinc_texts(data, s) if t.domain == keep]
        for s in ("train", "test")
    )
    labels = draw.sample(sorted({y for _, y in test}), 6)
    return _few(draw, "Name the intent of the message.", labels, train, test, 3, queries, str)


def sentfin(data: Path, draw: random.Random, queries: int) -> Draw:
    """Headlines with one entity, three classes, eight demonstrations each."""
    rows: list[Row] = []
    with (data / "data/sentfin/SEntFiN.csv").open(encoding="utf-8", newline="") as lines:
        for r in csv.DictReader(lines):
            found = re.findall(r"""['"]: ['"](positive|negative|neutral)['"]""", r["Decisions"])
            if len(found) == 1:
                rows.append((r["Title"].strip(), found[0]))
    draw.shuffle(rows)
    labels = ["positive", "negative", "neutral"]
    half = len(rows) // 2
    return _few(
        draw,
        "Classify the sentiment of the headline.",
        labels,
        rows[:half],
        rows[half:],
        8,
        queries,
        str,
    )


def sst2(data: Path, draw: random.Random, queries: int) -> Draw:
    """Film reviews, zero-shot: the instruction and the two labels, no demonstration."""
    with (data / "data/sst2/test_binary_sent.csv").open(encoding="utf-8", newline="") as lines:
        rows = [
            (r["sentence"].strip(), "positive" if r["label"] == "1" else "negative")
            for r in csv.DictReader(lines)
        ]
    labels = ["positive", "negative"]
    return _few(
        draw, "Classify the sentiment of the film review.", labels, rows, rows, 0, queries, str
    )


def _few(
    draw: random.Random,
    instruction: str,
    labels: list[str],
    train: list[Row],
    test: list[Row],
    shots: int,
    queries: int,
    style: object,
) -> Draw:
    shown = [x for y in labels for x in draw.sample([r for r in train if r[1] == y], shots)]
    draw.shuffle(shown)
    asked = [r for r in test if r[1] in labels]
    return Draw(instruction, labels, shown, draw.sample(asked, min(queries, len(asked))))


TASKS = {"banking77": banking, "sentfin": sentfin, "sst2": sst2, "clinc": clinc}


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is asked: ``draws`` × ``queries`` a task, ``draws`` × ``long_queries`` where a
    passage is read or a tool called, ``lora_tokens`` of fitting (0: no fit)."""

    queries: int = 100
    long_queries: int = 60
    draws: int = 5
    seed: int = 0
    lora_tokens: int = 0


def evaluate(
    folders: list[Path], data: Path, pools: Path | None, size: Size
) -> dict[str, dict[str, object]]:
    """The whole table of each model folder, by :func:`name`: its parts side by side, one thread
    each, on two processes."""
    out: dict[str, dict[str, object]] = {name(f): {} for f in folders}
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context, torch.set_num_threads, (1,)) as pool:
        # The longest parts first.
        waiting = {
            (part, f): pool.submit(part, f, data, pools, size)
            for part in (_lora, _calls, _read, _labels, _running)
            for f in folders
        }
        for part in (_labels, _read, _calls, _lora, _running):
            for f in folders:
                out[name(f)] |= waiting[part, f].result()
    return out


def name(folder: Path) -> str:
    """What a base is called: its folder, `nano_reader` as `nano-reader`."""
    return folder.name.replace("_", "-")


def _labels(folder: Path, data: Path, _: Path | None, size: Size) -> dict[str, object]:
    scorer, out = open_scorer(folder), {}
    for name, make in TASKS.items():
        start = time.time()
        draws = [random.Random(f"{size.seed}/{name}/{i}") for i in range(size.draws)]
        row = run(scorer, [make(data, draw, size.queries) for draw in draws])
        out[name] = {k: round(v, 4) for k, v in row.items()} | {
            "seconds": round(time.time() - start)
        }
    return out


def _read(folder: Path, data: Path, _: Path | None, size: Size) -> dict[str, object]:
    start = time.time()
    found = reading.measure(
        open_scorer(folder), data, draws=size.draws, queries=size.long_queries, seed=size.seed
    )
    return {f"xquad, {way}": _row(hits, start) for way, hits in found.items()}


def _calls(folder: Path, data: Path, _: Path | None, size: Size) -> dict[str, object]:
    start = time.time()
    hits = calls.measure(
        open_scorer(folder), data, draws=size.draws, queries=size.long_queries, seed=size.seed
    )
    return {"bfcl, constrained": _row(hits, start)}


def _lora(folder: Path, data: Path, _: Path | None, size: Size) -> dict[str, object]:
    if not size.lora_tokens:
        return {}
    start = time.time()
    hits = [tuning.measure(folder, data, tokens=size.lora_tokens, seed=size.seed)]
    return {"banking77, LoRA on 500": _row(hits, start, chance=1 / 77)}


def _running(folder: Path, _: Path, pools: Path | None, size: Size) -> dict[str, object]:
    out: dict[str, object] = {}
    if pools is None or not (pools / "documents_held_out.jsonl").exists():
        return out
    scorer = open_scorer(folder)
    if not scorer.writes_dialogue:
        return out
    held = corpus.read(pools / "documents_held_out.jsonl")
    seen = corpus.read(pools / "documents.jsonl")
    for kind in ("dialogue", "novel"):
        rows = [r["text"][:2000] for r in held if r["kind"] == kind][:60]
        taught = [r["text"] for r in seen if r["kind"] == kind]
        out[f"bits_per_byte_{kind}"] = round(running.bits_per_byte(scorer, rows), 3)
        out[f"bits_per_byte_{kind}_gzip"] = round(running.gzip_bits(rows), 3)
        out[f"bits_per_byte_{kind}_5-grams"] = round(running.ngram_bits(taught, rows), 3)
    return out


def _row(hits: list[list[bool]], start: float, chance: float | None = None) -> dict[str, Any]:
    return {
        "accuracy": round(_mean(hits), 4),
        "interval": round(_interval(hits), 4),
        "calibrated": None,
        "calibrated_interval": None,
        "chance": chance,
        "queries": sum(map(len, hits)),
        "draws": len(hits),
        "seconds": round(time.time() - start),
    }


def table(results: dict[str, dict[str, object]]) -> str:
    """Bases side by side, as a Markdown table; what was not measured is a dash."""
    bases = list(results)
    rows: dict[str, None] = {}
    for found in results.values():
        rows |= dict.fromkeys(found)
    lines = [f"| task | {' | '.join(bases)} | chance | queries |", "|---" * (len(bases) + 3) + "|"]
    for task in rows:
        found = [results[b].get(task) for b in bases]
        kinds = [f for f in found if isinstance(f, dict)]
        if not kinds:
            cells = ["–" if f is None else str(f) for f in found]
            lines.append(f"| {task.replace('_', ' ')} | {' | '.join(cells)} | – | – |")
            continue
        first = kinds[0]
        chance = "–" if first["chance"] is None else f"{first['chance']:.3f}"
        counts = [f"{f['draws']} × {f['queries'] // f['draws']}" for f in kinds]
        asked = ", ".join(dict.fromkeys(counts))
        lines.append(f"| {task} | {_cells(found, 'accuracy', 'interval')} | {chance} | {asked} |")
        if first["calibrated"] is not None:
            cells = _cells(found, "calibrated", "calibrated_interval")
            lines.append(f"| {task}, calibrated | {cells} | {chance} | {asked} |")
    return "\n".join(lines)


def _cells(found: list[Any], value: str, interval: str) -> str:
    return " | ".join("–" if f is None else f"{f[value]:.3f} ± {f[interval]:.3f}" for f in found)
