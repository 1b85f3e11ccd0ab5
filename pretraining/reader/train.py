"""Pretrain ``nano-reader``: the encoder frozen at first, then its upper layers learn as well.

The loss is that of the answers, plus where the pointing heads should look, plus which tokens the
last states stand for. Rates follow the time that was planned: a run that is continued with more
``planned_minutes`` goes on at a higher rate. A run that starts from a model folder is the second
half of a run: no share of it is frozen, and the help of being shown is small. Pool ``i`` of pairs
is drawn with the seed ``(seed, i)``, so a second half takes another seed.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import signal
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast

from pretraining import teacher
from pretraining.episodes import Pools
from pretraining.precision import bfloat16_pays
from pretraining.reader import batches, losses, network, probes, vocabulary
from pretraining.reader.batches import Batch
from pretraining.reader.mixture import ReaderMixture
from pretraining.reader.twin import Twin
from pretraining.train import save


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run may vary."""

    minutes: float = 60.0  # limit of this call
    planned_minutes: float = 95.0  # length of the whole run, which the rates follow
    seed: int = 0
    layers: int = network.DECODER_LAYERS
    limit: int = 760  # longest prompt, in tokens
    pool: int = 256  # pairs that are sorted by length together
    batch_tokens: int = 1600
    batch_rows: int = 24
    accumulate: int = 2  # batches a step, so that a step sees more than one length
    frozen: float = 0.02  # first share of the run, in which the encoder stays as it is
    below: int = 0  # encoder layers that never learn, nor does what they embed
    encoder_rate: float = 3e-4
    decoder_rate: float = 5e-4
    attention_rate: float = 8e-4  # of the attention to the encoder, which had all to learn
    embedding_rate: float = 0.0  # Adam moves rows that nobody uses as fast as the others
    position_rate: float = 2e-4  # those past MiniLM's 512 were never read by it
    pointing: float = 1.0  # weight of showing where to look, falling to a tenth
    identity: float = 1.0  # weight of telling tokens from their states, falling likewise
    cool: float = 0.35  # last share of the run over which the rate falls to a twentieth
    checkpoint_seconds: float = 240.0
    probe_seconds: float = 900.0  # 0: never
    device: str = "auto"
    data: Path | None = None  # where the domain that the probes ask about is
    encoder: Path | None = None  # the encoder's folder; None is the one of the package
    start: Path | None = None  # a model folder to go on from, instead of the encoder's weights


def train(out: Path, run: Path, s: Settings, steps: int | None = None) -> None:
    """Train until ``minutes``, ``planned_minutes`` or ``steps`` run out, or SIGTERM comes; go on
    from the checkpoint in ``run``. ``out`` holds the pools and the vocabulary."""
    torch.set_flush_denormal(True)
    run.mkdir(parents=True, exist_ok=True)
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if s.device == "auto" else s.device
    )
    tokenizer = vocabulary.load(out)
    pools = Pools(out)
    mixture = ReaderMixture(pools, out)
    if s.start is None:
        model = network.create(tokenizer, teacher.folder(s.encoder), s.seed, layers=s.layers)
    else:
        model = network.opened(s.start, tokenizer)
    checkpoint = run / "checkpoint.safetensors"
    at: dict[str, float] = {"pool": 0, "batch": 0, "tokens": 0, "step": 0, "seconds": 0.0}
    at["pool_seconds"] = 0.0
    if s.start is None and not checkpoint.exists():
        fit_start(model, mixture, tokenizer, s)
    rates = {
        "encoder": s.encoder_rate, "decoder": s.decoder_rate, "attention": s.attention_rate,
        "embedding": s.embedding_rate, "position": s.position_rate,
    }  # fmt: skip
    twin = Twin(model.to(device), rates, device.type == "cuda" or bfloat16_pays())
    if checkpoint.exists():
        twin.restore(load_file(checkpoint))
        with safe_open(checkpoint, "pt") as f:
            at |= json.loads(f.metadata()["at"])
    telling = vocabulary.telling(tokenizer).to(device)
    kept = None
    if s.probe_seconds:
        intents = probes.held_out_intents(s.data) if s.data is not None else []
        kept = probes.prepare(mixture, tokenizer, pools, s.limit, intents)
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    started = saved = probed = time.time()
    before = at["seconds"]
    record = Record(run)
    waiting = 0
    planned = 60 * s.planned_minutes
    while True:
        if at["batch"] == 0:
            at["pool_seconds"] = at["seconds"]
        # A pool broken off goes on with the progress it began with.
        progress = min(1.0, at["pool_seconds"] / planned)
        made = batches.pool(
            mixture, tokenizer, seed=s.seed, number=int(at["pool"]), size=s.pool,
            progress=whole(progress, s), limit=s.limit, most_tokens=s.batch_tokens,
            most_rows=s.batch_rows,
        )  # fmt: skip
        for i, batch in enumerate(made):
            if i < at["batch"]:
                continue
            done = min(1.0, at["seconds"] / planned)
            loss = loss_of(twin.fast, batch.to(device), telling, done, s, record)
            (loss / s.accumulate).backward()
            waiting += 1
            at["batch"] = i + 1
            at["tokens"] += int((batch.source != tokenizer.pad_token_id).sum())
            at["seconds"] = before + time.time() - started
            if waiting < s.accumulate:
                continue
            waiting = 0
            record.add("norm", twin.step(scales(done, s)))
            at["step"] += 1
            if at["step"] % 50 == 0:
                record.write(at)
            over = (
                bool(asked_to_stop)
                or at["seconds"] >= planned
                or time.time() - started > 60 * s.minutes
                or (steps is not None and at["step"] >= steps)
            )
            if kept is not None and time.time() - probed > s.probe_seconds:
                record.write(at | probes.measure(twin.fast, kept))
                probed = time.time()
            if over or time.time() - saved > s.checkpoint_seconds:
                save(checkpoint, twin.state(), {"at": json.dumps(at)})
                saved = time.time()
            if over:
                return
        at |= {"pool": at["pool"] + 1, "batch": 0}


def whole(done: float, s: Settings) -> float:
    """Share of the whole training after the share ``done`` of this run."""
    return done if s.start is None else 0.5 + 0.5 * done


def scales(done: float, s: Settings) -> dict[str, float]:
    """Share of its peak rate for each group after the share ``done`` of the run."""
    fall = max(0.05, min(1.0, (1 - done) / s.cool))
    new = min(1.0, (done + 0.0002) / 0.01) * fall
    frozen = s.frozen if s.start is None else 0.0
    old = 0.0 if done < frozen else min(1.0, (done - frozen + 0.002) / 0.06) * fall
    return {"encoder": old, "decoder": new, "attention": new, "embedding": old, "position": old}


def loss_of(
    model: Any, batch: Batch, telling: Tensor, done: float, s: Settings, record: Record
) -> Tensor:
    """The loss of one batch; its parts go into ``record``."""
    below = s.below if s.start is not None or done >= s.frozen else len(model.model.encoder.layers)
    states, mask = network.encode(model, batch.source, batch.first, below)
    decoded = network.decode(model, batch.given, states, mask)
    total, rows = losses.answer_loss(model, decoded, batch)
    shown = max(0.1, 1 - whole(done, s) / 0.8)
    for kind, value in zip(batch.kinds, rows.tolist(), strict=True):
        record.add(f"loss.{kind}", value)
        record.add("loss", value)
    if (pointing := losses.pointing_loss(decoded, batch, mask)) is not None:
        total = total + s.pointing * shown * pointing
        record.add("pointing", float(pointing.detach()))
    if s.identity:
        kept, hits = losses.identity_loss(model, states, batch.source, telling)
        total = total + s.identity * shown * kept
        record.add("identity", hits)
    return total


@torch.no_grad()
def fit_start(
    model: Any, mixture: ReaderMixture, tokenizer: PreTrainedTokenizerFast, s: Settings,
    pairs: int = 192,
) -> None:  # fmt: skip
    """Fit by ridge regression what MiniLM's weights lack: a map from the last states to the tokens
    that stand there. It becomes the values of the pointing heads, so that what they attend to
    becomes likely."""
    states, rows = [], []
    table = model.get_input_embeddings().weight
    for batch in batches.pool(
        mixture, tokenizer, seed=s.seed, number=-1, size=pairs, progress=0.5, limit=s.limit,
        most_tokens=s.batch_tokens, most_rows=s.batch_rows,
    ):  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays()):
            last = network.encode(model, batch.source, batch.first)[0]
        real = batch.source != tokenizer.pad_token_id
        states.append(last[real].float())
        rows.append(batch.source[real])
    x, ids = torch.cat(states), torch.cat(rows)
    weight, bias = losses.ridge(x, table[ids])
    told = F.linear(x[:4000], weight, bias) @ table.T
    hits = float((told.argmax(-1) == ids[:4000]).float().mean())
    print(f"tokens told from their last states: {hits:.3f} of {len(ids)}", flush=True)
    network.copy_heads(model, x, weight, bias)


class Record:
    """Means of what was measured since the last line of ``curve.jsonl``."""

    def __init__(self, run: Path) -> None:
        self.path = run / "curve.jsonl"
        self.values: dict[str, list[float]] = collections.defaultdict(list)

    def add(self, name: str, value: float) -> None:
        """Keep one value."""
        self.values[name].append(value)

    def write(self, at: dict[str, float]) -> None:
        """Append a line, and print it."""
        row = {k: round(v, 4) for k, v in at.items()}
        row |= {k: round(sum(v) / len(v), 4) for k, v in sorted(self.values.items()) if v}
        with self.path.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        print(row, flush=True)
        self.values.clear()
