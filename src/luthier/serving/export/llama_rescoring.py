"""The test set through a GGUF file, with llama.cpp itself (the npm package node-llama-cpp)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.errors import BackendError
from luthier.models.model import Model
from luthier.records import Example
from luthier.serving.export.plain_rescoring import (
    PlainScorer,
    Rescored,
    Scored,
    WrittenPrompt,
    rescore,
    stopped,
    written_prompts,
)

VARIABLE = "LUTHIER_NODE_MODULES"
PACKAGE = "node-llama-cpp@3.21.1"
SCRIPT = Path(__file__).with_name("llama_scores.mjs")


def llama_place() -> Path | None:
    """The folder with the npm package in its node_modules: LUTHIER_NODE_MODULES, or the working
    folder; None where there is none, or no node."""
    places = [Path(os.environ.get(VARIABLE) or "."), Path()]
    if shutil.which("node") is None:
        return None
    return next((p.resolve() for p in places if (p / "node_modules/node-llama-cpp").is_dir()), None)


def rescore_gguf(
    model: Model, examples: Sequence[Example], wanted: Sequence[str | None], *, path: Path,
    tie_nats: float = 0.0,
) -> Rescored:  # fmt: skip
    """Answer the examples with llama.cpp, tokens as the base's own tokenizer makes them.

    BackendError where llama.cpp does not open the file, or splits a text otherwise.
    """
    with model.backend.session(model.adaptation) as session:
        plain = PlainScorer(session.module, session.tokenizer, model)
    decoding = model.adaptation.decoding
    ends = plain.tokenizer.eos_token_id
    jobs: dict[str, dict[str, Any]] = {}
    for prompt in written_prompts(model, examples):
        if prompt.continuations:
            start, rows = plain.rows(prompt)
            if not any(plain.too_long(row) for row in rows):
                jobs[prompt.text] = {
                    "text": prompt.text, "rows": [{"ids": row, "start": start} for row in rows],
                }  # fmt: skip
        else:
            ids = plain.ids(prompt.text)
            if not plain.too_long([*ids, *range(decoding.max_new_tokens)]):
                jobs[prompt.text] = {
                    "text": prompt.text, "ids": ids, "maxTokens": decoding.max_new_tokens,
                    "ends": [] if ends is None else [ends],
                }  # fmt: skip
    found = dict(zip(jobs, run_llama(path, list(jobs.values())), strict=True))

    def score(prompt: WrittenPrompt) -> Scored | None:
        job = jobs.get(prompt.text)
        if job is None:
            return None
        rows = found[prompt.text]["rows"]
        values = [sum(row["logs"]) for row in rows]
        flags = [all(row["best"]) for row in rows]
        return values, flags, [row["ids"][row["start"] :] for row in job["rows"]]

    def generate(prompt: WrittenPrompt) -> str | None:
        if prompt.text not in jobs:
            return None
        text = plain.tokenizer.decode(found[prompt.text]["generated"], skip_special_tokens=True)
        return stopped(text, decoding.stop)

    return rescore(model, examples, wanted, score=score, generate=generate, tie_nats=tie_nats)


def run_llama(path: Path, jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What llama.cpp makes of each job. BackendError where it fails."""
    place = llama_place()
    if place is None:
        raise BackendError("node-llama-cpp is not here", next_step=f"npm install {PACKAGE}")
    done = subprocess.run(
        ["node", str(SCRIPT)],
        input=json.dumps({"model": str(path.resolve()), "jobs": list(jobs)}),
        capture_output=True,
        text=True,
        env={**os.environ, VARIABLE: str(place)},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or len(lines) != len(jobs):
        raise BackendError(
            f"llama.cpp could not answer with {path.name}: {done.stderr.strip()[-400:]}",
            next_step="Export to merged, or report it with this message.",
        )
    return [json.loads(line) for line in lines]
