"""The server against its promises: 32 LoRA adapters mixed and a single one under 64 clients, the
same requests without HTTP, and a loop over PEFT's adapter switching.

    python -m benchmarks.serving [--requests 256] [--out benchmarks/results/plans/serving.json]

Every adapter has answered two other requests before, so that its prompt's beginning is kept; those
first requests are told apart. Server and clients share the machine. `seconds` go by the clock, with
the clients' work and whatever else runs on the machine; `server_seconds` are processor time of all
threads but the clients'.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import torch
import uvicorn

from benchmarks.cases import nano
from benchmarks.jobs.mixed import random_lora
from benchmarks.machine import surroundings
from benchmarks.peers.peft_switching import Switching
from luthier.models.adaptation import Adaptation, Adapter, Decoding
from luthier.models.answering import label_requests, render_for
from luthier.models.model import Model
from luthier.models.prompt import Prompt
from luthier.records import Example
from luthier.serving.app import create
from luthier.serving.listening import free_socket
from luthier.serving.model_service import ModelService
from luthier.serving.served_models import ServedModels
from luthier.task.task import Task

ADAPTERS, CLIENTS, NEW_TOKENS = 32, 64, 16
WARM = 2  # requests to each adapter before


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/plans/serving.json"))
    options = parser.parse_args()
    found = measured(options.requests)
    found["machine"] = surroundings()
    options.out.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))


def measured(count: int) -> dict[str, Any]:
    """Seconds and requests a second of every way, on the same questions."""
    backend, task = nano(), Task.load("routing")
    adapters = [random_lora(k) for k in range(ADAPTERS)]
    pool = [e.input for e in (*task.train, *task.dev)]
    texts = [
        f"{pool[i % len(pool)]}{' .' * (i // len(pool))}"
        for i in range(2 * count + WARM * ADAPTERS)
    ]  # no two are the same
    prompt = Prompt(task.instruction, labels=task.labels)
    served = ServedModels()
    for k, adapter in enumerate(adapters):
        labels = Decoding(labels=task.labels)
        free = Decoding(max_new_tokens=NEW_TOKENS, stop=())
        served.put(
            f"labels-{k}", Model(backend, Adaptation(prompt, adapter=adapter, decoding=labels))
        )
        served.put(f"free-{k}", Model(backend, Adaptation(prompt, adapter=adapter, decoding=free)))
    service = ModelService(served, most_under_way=4 * CLIENTS)
    address, stop = started(service)
    found: dict[str, Any] = {"requests": count, "clients": CLIENTS, "adapters": ADAPTERS}
    before = texts[2 * count :]
    for kind, stream in (("labels", False), ("free", True)):
        size = count if kind == "labels" else count // 4
        for name, begin, end, spread in (
            ("first requests", 2 * count, len(texts), ADAPTERS),
            ("single", 0, size, 1),
            ("mixed", count, count + size, ADAPTERS),
        ):
            asked = [(f"{kind}-{i % spread}", text) for i, text in enumerate(texts[begin:end])]
            found[f"{kind} {name}"] = asyncio.run(clients(address, asked, stream=stream))
    stop()
    context = backend.continuous()
    assert context is not None
    with context as engine:
        engine.forget()  # what the server read is not at hand
    offline(served, before)
    found["labels offline"] = offline(served, texts[count : 2 * count])
    found["labels switching"] = switching(
        backend, adapters, served, texts[count : count + count // 4]
    )
    found["ratios"] = ratios(found)
    return found


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """How the ways compare: by the clock, and by processor time of the server."""

    def over(name: str, other: str, what: str) -> float:
        return float(found[name][what] / found[other][what])

    server = {
        name: found[name]["server_seconds"] / found[name]["requests"]
        for name in ("labels single", "labels mixed", "free single", "free mixed", "labels offline")
    }
    return {
        "mixed over single, labels": over("labels mixed", "labels single", "per_second"),
        "mixed over single, labels, by processor": server["labels single"] / server["labels mixed"],
        "mixed over single, generation": over("free mixed", "free single", "per_second"),
        "mixed over single, generation, by processor": server["free single"] / server["free mixed"],
        "p95 to the first token, mixed over single": over("free mixed", "free single", "first_p95"),
        "mixed over PEFT switching, labels": over("labels mixed", "labels switching", "per_second"),
        "HTTP and scheduling over offline, labels, by processor": server["labels mixed"]
        / server["labels offline"]
        - 1,
        "HTTP, scheduling and clients over offline, labels": over(
            "labels offline", "labels mixed", "per_second"
        )
        - 1,
    }


def started(service: ModelService) -> tuple[str, Any]:
    """A server in a thread: its address, and what ends it."""
    socket = free_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create(service, studio=False), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return f"http://127.0.0.1:{socket.getsockname()[1]}", stop


async def clients(
    address: str, asked: Sequence[tuple[str, str]], *, stream: bool
) -> dict[str, float]:
    """All requests by so many clients at once: requests a second, the times of each."""
    waiting, whole, first = list(reversed(asked)), [], []
    started_at, spent = time.perf_counter(), time.process_time() - time.thread_time()
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as web:

        async def client() -> None:
            while waiting:
                model, text = waiting.pop()
                body = {"model": model, "messages": [{"role": "user", "content": text}]}
                begun = time.perf_counter()
                if not stream:
                    reply = await web.post(f"{address}/v1/chat/completions", json=body)
                    reply.raise_for_status()
                    whole.append(time.perf_counter() - begun)
                    continue
                url, body = f"{address}/v1/chat/completions", {**body, "stream": True}
                async with web.stream("POST", url, json=body) as pieces:
                    seen = False
                    async for line in pieces.aiter_lines():
                        if not seen and '"content": "' in line and '"content": ""' not in line:
                            seen = True
                            first.append(time.perf_counter() - begun)
                whole.append(time.perf_counter() - begun)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    seconds = time.perf_counter() - started_at
    found = {
        "requests": len(asked),
        "seconds": seconds,
        "server_seconds": time.process_time() - time.thread_time() - spent,
        "per_second": len(asked) / seconds,
        "p95": quantile(whole),
    }
    return found | ({"first_p95": quantile(first)} if first else {})


def offline(served: ServedModels, texts: Sequence[str]) -> dict[str, float]:
    """The same mixed requests handed to the engine in batches of as many as there are clients."""
    models = [served.get(f"labels-{k}").model for k in range(ADAPTERS)]  # type: ignore[union-attr]
    begun, spent = time.perf_counter(), time.process_time()
    for start in range(0, len(texts), CLIENTS):
        items = []
        for i, text in enumerate(texts[start : start + CLIENTS]):
            model = models[(start + i) % ADAPTERS]
            prompts = render_for(model, [Example("", text, "")])
            items += [(r, model.adaptation) for r in label_requests(model, prompts)]
        context = models[0].backend.continuous()
        assert context is not None
        with context as engine:
            engine.score(items)
    seconds = time.perf_counter() - begun
    return {
        "requests": len(texts),
        "seconds": seconds,
        "server_seconds": time.process_time() - spent,
        "per_second": len(texts) / seconds,
    }


@torch.inference_mode()
def switching(
    backend: Any, adapters: Sequence[Adapter], served: ServedModels, texts: Sequence[str]
) -> dict[str, float]:
    """A loop over PEFT's set_adapter, all labels of a request in one padded batch."""
    peft = Switching(backend.module, backend.tokenizer, adapters).model
    model = served.get("labels-0")
    assert model is not None
    with backend.session(Adaptation()) as session:
        pairs = []
        for text in texts:
            prompts = render_for(model.model, [Example("", text, "")])
            (request,) = label_requests(model.model, prompts)
            pairs.append(session.encode_pairs(request.prompt, request.continuations))
    begun = time.perf_counter()
    for i, rows in enumerate(pairs):
        peft.set_adapter(str(i % ADAPTERS))
        width = max(len(ids) for ids, _ in rows)
        first = min(start for _, start in rows)
        ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row, _ in rows])
        keep = torch.arange(first - 1, width)
        logits = peft(input_ids=ids, attention_mask=mask, logits_to_keep=keep).logits
        logs = logits[:, :-1].float().log_softmax(-1)
        logs.gather(-1, ids[:, first:].unsqueeze(-1)).squeeze(-1).mul(mask[:, first:]).sum(
            -1
        ).argmax()
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "per_second": len(texts) / seconds}


def quantile(values: Sequence[float], share: float = 0.95) -> float:
    """A quantile of measured times."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
