"""The server against llama.cpp: few-shot classification, and plain generation of one stream.

    npm install node-llama-cpp@3.21.1                      # in a folder
    LUTHIER_NODE_MODULES=THAT_FOLDER python -m benchmarks.llama_cpp [--inputs 24] [--tokens 96]

Both sides have the same Llama of some 100 million random weights, llama.cpp as GGUF in float32,
and both one thread. Both score every label behind the same tokens of the same prompts, keep the
beginning that prompts have in common, and their labels must be the same. A ratio is llama.cpp's
processor seconds over those of the server's process, HTTP and all; reading the model is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

from benchmarks.machine import surroundings
from benchmarks.soak import server
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.records import Example
from luthier.serving.export.gguf_file import write_gguf
from luthier.serving.export.llama_rescoring import PACKAGE, llama_place
from luthier.serving.export.plain_rescoring import PlainScorer, written_prompts
from luthier.task.task import Task

SCRIPT = Path(__file__).parent / "peers" / "llama_cpp.mjs"
SHOTS, CONTEXT, THREADS, VOCABULARY = 12, 2048, 1, 16_000
GOALS = {"few-shot classification": 3.0, "plain generation": 0.8}


@dataclass(frozen=True)
class Measured:
    """What one side answered, and its processor and clock seconds a request."""

    answers: tuple[str, ...]
    cpu: float
    wall: float


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/plans/llama_cpp.json"))
    options = parser.parse_args()
    if llama_place() is None:
        raise SystemExit(
            f"llama.cpp is not here: npm install {PACKAGE}, LUTHIER_NODE_MODULES=FOLDER"
        )
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory(prefix="luthier-llama-") as scratch:
        found = measured(Path(scratch), options.inputs, options.tokens)
    found["machine"] = surroundings()
    options.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))


def measured(folder: Path, inputs: int, tokens: int) -> dict[str, Any]:
    """Both kinds of work on both sides, and the ratios."""
    task = Task.load("routing")
    base = load(write_base(folder / "base", task))
    shown = [Demonstration(e.input, e.target) for e in task.train[:SHOTS]]
    prompt = Prompt(task.instruction, labels=task.labels, demonstrations=tuple(shown))
    labelled = Model(base.backend, Adaptation(prompt, decoding=Decoding(labels=task.labels)))
    free = Model(
        base.backend, Adaptation(Prompt(), decoding=Decoding(max_new_tokens=tokens, stop=()))
    )
    labelled.save(folder / "few-shot")
    free.save(folder / "free")
    write_gguf(labelled, folder / "model.gguf")
    texts = [example.input for example in task.dev[: inputs + 1]]  # the first one warms
    theirs = by_llama(folder / "model.gguf", labelled, free, texts, tokens)
    ours = by_server(folder, texts, tokens)
    found: dict[str, Any] = {
        "parameters": sum(p.numel() for p in base.backend.module.parameters()),  # type: ignore[attr-defined]
        "inputs": inputs, "tokens": tokens, "threads": THREADS,
        "prompt_tokens": theirs.pop("prompt_tokens"),
    }  # fmt: skip
    for kind, goal in GOALS.items():
        a, b = ours[kind], theirs[kind]
        found[kind] = {
            "ratio": b.cpu / a.cpu, "goal": goal, "clock_ratio": b.wall / a.wall,
            "luthier": {"cpu_seconds": a.cpu, "clock_seconds": a.wall},
            "llama.cpp": {"cpu_seconds": b.cpu, "clock_seconds": b.wall},
        }  # fmt: skip
    labels = zip(
        ours["few-shot classification"].answers, theirs["few-shot classification"].answers,
        strict=True,
    )  # fmt: skip
    found["few-shot classification"]["same_labels"] = (
        f"{sum(a == b for a, b in labels)} of {inputs}"
    )
    found["few-shot classification, 8 clients"] = {
        "ratio": theirs["few-shot classification"].cpu / ours["8 clients"].cpu
    }
    return found


def write_base(folder: Path, task: Task) -> Path:
    """A Llama of some 100 million random weights, with a tokenizer of the task's words."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["</s>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    inner.train_from_iterator([f"{e.input}\n{e.target}" for e in task.train], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="</s>"
    )
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
        num_attention_heads=12, num_key_value_heads=12, max_position_embeddings=CONTEXT,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    module = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        module.get_input_embeddings().weight[0] = 0.0  # so that no answer ends before its length
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def by_llama(
    path: Path, labelled: Model, free: Model, texts: Sequence[str], tokens: int
) -> dict[str, Any]:
    """llama.cpp's side, one request after the other."""
    with labelled.backend.session(labelled.adaptation) as session:
        plain = PlainScorer(session.module, session.tokenizer, labelled)
    jobs, lengths = [], []
    for prompt in written_prompts(labelled, [Example("", text, "") for text in texts]):
        start, rows = plain.rows(prompt)
        jobs.append({"prompt": rows[0][:start], "rows": [row[start:] for row in rows]})
        lengths.append(start)
    open_ended = [
        {"prompt": plain.ids(prompt.text), "tokens": tokens}
        for prompt in written_prompts(free, [Example("", text, "") for text in texts[:3]])
    ]
    asked = {
        "model": str(path), "threads": THREADS, "context": CONTEXT, "labelled": jobs,
        "free": open_ended,
    }  # fmt: skip
    done = subprocess.run(
        ["node", str(SCRIPT)], input=json.dumps(asked), capture_output=True, text=True,
        env={**os.environ, "LUTHIER_NODE_MODULES": str(llama_place())},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or len(lines) != len(jobs) + len(open_ended):
        raise SystemExit(f"llama.cpp failed: {done.stderr[-400:]}")
    scored = [line for line in lines if line["kind"] == "labelled"][1:]
    written = [line for line in lines if line["kind"] == "free"][1:]
    labels = labelled.adaptation.decoding.labels
    best = tuple(labels[max(range(len(labels)), key=line["sums"].__getitem__)] for line in scored)
    return {
        "few-shot classification": Measured(best, mean(scored, "cpu"), mean(scored, "wall")),
        "plain generation": Measured((), mean(written, "cpu"), mean(written, "wall")),
        "prompt_tokens": sum(lengths[1:]) / len(lengths[1:]),
    }


def by_server(folder: Path, texts: Sequence[str], tokens: int) -> dict[str, Measured]:
    """The server's side, through HTTP: one client after the other, then eight at once."""
    found = {}
    with (
        server(folder / "few-shot", str(folder / "free")) as (process, address),
        httpx.Client(timeout=600) as web,
    ):
        watched = psutil.Process(process.pid)

        def ask(model: str, text: str) -> str:
            body = {"model": model, "messages": [{"role": "user", "content": text}]}
            reply = web.post(f"{address}/v1/chat/completions", json=body)
            reply.raise_for_status()
            usage = reply.json()["usage"]["completion_tokens"]
            assert model != "free" or usage == tokens, f"{usage} of {tokens} tokens were written"
            return str(reply.json()["choices"][0]["message"]["content"])

        def timed(model: str, asked: Sequence[str]) -> Measured:
            cpu, wall = cpu_seconds(watched), time.perf_counter()
            answers = tuple(ask(model, text) for text in asked)
            cpu, wall = cpu_seconds(watched) - cpu, time.perf_counter() - wall
            return Measured(answers, cpu / len(asked), wall / len(asked))

        ask("few-shot", texts[0])
        found["few-shot classification"] = timed("few-shot", texts[1:])
        ask("free", texts[0])
        found["plain generation"] = timed("free", texts[1:3])
        from concurrent.futures import ThreadPoolExecutor

        again = [f"{text} Please." for text in texts[1:]]  # none of them was read before
        cpu, wall = cpu_seconds(watched), time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            answers = tuple(pool.map(lambda text: ask("few-shot", text), again))
        cpu, wall = cpu_seconds(watched) - cpu, time.perf_counter() - wall
        found["8 clients"] = Measured(answers, cpu / len(again), wall / len(again))
    return found


def cpu_seconds(process: psutil.Process) -> float:
    """The processor time that a process has taken."""
    times = process.cpu_times()
    return float(times.user + times.system)


def mean(lines: Sequence[dict[str, Any]], key: str) -> float:
    """The mean of a value over jobs."""
    return sum(float(line[key]) for line in lines) / len(lines)


if __name__ == "__main__":
    main()
