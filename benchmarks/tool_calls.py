"""BFCL: whether a base calls the right function with the right arguments, and none where none fits.

    python -m benchmarks.tool_calls --data FOLDER --model nano --limit 100

`--data` holds BFCL_v4_simple_python.json, _multiple and _irrelevance with possible_answer/. Every
request is one generation under the grammar of its functions, with `--shots` solved requests on
other functions before it. A call is right where it matches in the way of BFCL's AST check; for
irrelevance, where there is none. Intervals are Wilson's, 95 %.

With `--lora` an adapter is trained first, on `--train` requests whose functions no asked request
has; it, and each category that was measured, is kept in `--out`, so that a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import luthier
from benchmarks.bfcl_requests import Request, drawn, requests
from benchmarks.calls_lora import DECODING, FORM, other_functions, tuned_on_calls
from luthier.content import ToolCall
from luthier.models.adaptation import ToolUse
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.records import Example
from luthier.scoring.scorers.tool_calls import possible_call
from luthier.scoring.statistics.intervals import wilson
from luthier.tools.arguments import faults

CATEGORIES = ("simple_python", "multiple", "irrelevance")


def measure(model: Model, asked: list[Request], *, shots: list[Request]) -> dict[str, Any]:
    """Right answers among `asked`, calls that fit their schema, and the time of one."""
    right = valid = calls = 0
    began = time.perf_counter()
    for request in asked:
        shown = tuple(_demonstration(r) for r in shots)
        prompt = Prompt(demonstrations=shown, format=FORM)
        adapted = model.adapt(
            prompt=prompt,
            tools=ToolUse(request.functions),
            decoding=DECODING,
        )
        response = adapted.answer([Example("", request.question, "")])[0]
        schemas = {f.name: f.parameters for f in request.functions}
        calls += len(response.tool_calls)
        valid += sum(
            c.name in schemas and not faults(c.arguments, schemas[c.name])
            for c in response.tool_calls
        )
        right += _is_right(response.tool_calls, request)
    seconds = time.perf_counter() - began
    low, high = wilson(right, len(asked))
    return {
        "requests": len(asked), "match": right / len(asked), "low": low, "high": high,
        "calls": calls, "valid": valid / calls if calls else None,
        "seconds_per_request": seconds / len(asked),
    }  # fmt: skip


def _is_right(made: tuple[ToolCall, ...], request: Request) -> bool:
    if not request.possible:
        return not made
    ((name, possible),) = request.possible.items()
    return len(made) == 1 and possible_call(made[0], name, possible)


def _demonstration(request: Request) -> Demonstration:
    """A solved request: its call as the answer."""
    from luthier.models.tool_formats import call_format

    ((name, possible),) = request.possible.items()
    arguments = {k: values[0] for k, values in possible.items() if values and values[0] != ""}
    call = call_format("json").write([ToolCall(name, arguments)])
    return Demonstration(request.question, call)


def main() -> None:
    """Measure and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--categories", default=",".join(CATEGORIES))
    parser.add_argument("--lora", action="store_true", help="train on other functions first")
    parser.add_argument("--train", type=int, default=100, help="requests to train on")
    parser.add_argument("--tokens", type=int, default=200_000, help="of the training")
    parser.add_argument("--out", type=Path, default=Path("runs/bfcl"), help="of --lora")
    settings = parser.parse_args()
    model = luthier.load(settings.model)
    categories = settings.categories.split(",")
    if settings.lora:
        every = [r for c in CATEGORIES for r in drawn(settings.data, c, settings.limit)]
        pool = [r for c in ("simple_python", "multiple") for r in requests(settings.data, c)]
        model = tuned_on_calls(
            model, other_functions(pool, every), count=settings.train, tokens=settings.tokens,
            out=settings.out,
        )  # fmt: skip
    for category in categories:
        kept = settings.out / f"{category}-{settings.limit}-{settings.shots}.json"
        if settings.lora and kept.is_file():
            print(kept.read_text("utf-8"), end="", flush=True)
            continue
        asked = drawn(settings.data, category, settings.limit)
        pool = [r for r in requests(settings.data, "simple_python") if r.question not in
                {a.question for a in asked}]  # fmt: skip
        shots = random.Random(1).sample(pool, settings.shots)
        found = {"category": category, "model": settings.model, "shots": settings.shots,
                 "trained": settings.train if settings.lora else None,
                 **measure(model, asked, shots=shots)}  # fmt: skip
        line = json.dumps(found) + "\n"
        if settings.lora:
            kept.write_text(line, "utf-8")
        print(line, end="", flush=True)


if __name__ == "__main__":
    main()
