"""Pretrain ``nano``: one loop for a CPU core and for a GPU, resumable after a kill.

The loss is the weighted next-token loss of the episodes plus, at each cue, the distance between a
linear map of the middle layer and the sentence encoder's vector of the text just read. The order of
the data depends on the seed alone: pool ``i`` of episodes is drawn with seed ``(seed, i)``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pretraining import model as network
from pretraining import optim, teacher
from pretraining.episodes import Mixture, Pools
from pretraining.episodes.piece import Encoded, encode
from pretraining.precision import bfloat16_pays
from pretraining.texts import tokenizer as tokens

POOL = 256  # episodes sorted by length together


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a run may vary."""

    minutes: float = 60.0
    planned_tokens: float = 9e6  # the curriculum and the learning rate follow this
    batch_tokens: int = 2048
    limit: int = 1024
    matrix_lr: float = 4e-4
    other_lr: float = 8e-4
    embedding_lr: float = 6e-4  # for rows of length 12; larger ones wash the word meanings out
    warm: float = 0.08  # the matrices' warm-up: what the encoder knows must outlive the first steps
    auxiliary: float = 1.0  # weight of the sentence-vector loss
    matching: float = 1.0  # weight of showing four heads where to look, fading to zero
    seed: int = 0
    device: str = "auto"
    checkpoint_seconds: float = 180.0
    cool: float = 0.35  # last share of the run over which the rate falls to a twentieth
    start: Path | None = None  # a model folder to go on from, instead of the encoder's weights
    scratch: bool = False  # random weights instead of the encoder's
    encoder: Path | None = None  # the encoder's folder; None is the one of the package
    first_progress: float = 0.0  # where the curriculum begins
    sums: float = 0.0  # texts only summed up, beside each episode: they need no layer above
    sums_first: float = 0.0  # first share of the run in which nothing else is learnt


def batches(
    mixture: Mixture, tokenizer: object, s: Settings, pool: int, skip: int, progress: float
) -> Iterator[tuple[int, list[Encoded], bool]]:
    """Batches of pool number ``pool``, from batch ``skip`` on: episodes of similar length, and
    whether their texts are only to be summed up. All are where ``progress`` is below zero."""
    draw = random.Random(f"{s.seed}/{pool}")
    groups: list[tuple[list[Encoded], bool]] = []
    wanted = [(progress, POOL)] + [(-1.0, int(s.sums * POOL))] * (progress >= 0)
    for where, count in wanted:
        ready = []
        while len(ready) < count:
            e = encode(mixture.draw(draw, where), tokenizer, s.limit)  # type: ignore[arg-type]
            if e.weights.sum() > 0:
                ready.append(e)
        groups += [(g, where < 0) for g in of_similar_length(ready, s.batch_tokens)]
    draw.shuffle(groups)
    for i, (group, part) in enumerate(groups):
        if i >= skip:
            yield i, group, part


def of_similar_length(episodes: list[Encoded], most: int) -> list[list[Encoded]]:
    """Groups of at most ``most`` tokens with their padding."""
    groups: list[list[Encoded]] = []
    for e in sorted(episodes, key=lambda e: len(e.ids)):
        if not groups or len(e.ids) * (len(groups[-1]) + 1) > most:
            groups.append([])
        groups[-1].append(e)
    return groups


def collate(group: list[Encoded], pad: int, multiple: int) -> tuple[Tensor, ...]:
    """Tokens (B, T), weights (B, T) of predicting each, cues (C, 3): row, position, text; and
    looks (L, 2): row, position, with the mask (L, T) of what to look at there."""
    longest = -(-max(len(e.ids) for e in group) // multiple) * multiple
    x = torch.full((len(group), longest), pad)
    w = torch.zeros(len(group), longest)
    cues, looks = [], []
    for r, e in enumerate(group):
        x[r, : len(e.ids)] = torch.from_numpy(e.ids)
        w[r, : len(e.ids)] = torch.from_numpy(e.weights)
        cues += [(r, int(p), int(t)) for p, t in e.cues]
        looks += [(r, p, at) for p, at in e.looks]
    where = torch.tensor([(r, p) for r, p, _ in looks], dtype=torch.long).reshape(-1, 2)
    mask = torch.zeros(len(looks), longest, dtype=torch.bool)
    for i, (_, _, at) in enumerate(looks):
        mask[i, at] = True
    return x, w, torch.tensor(cues, dtype=torch.long).reshape(-1, 3), where, mask


def loss_of(
    model: nn.Module,
    head: nn.Linear,
    vectors: Tensor,
    batch: tuple[Tensor, ...],
    auxiliary: float,
    matching: float,
    run: object,
    first: Tensor,
    part: bool,
) -> tuple[Tensor, dict[str, float]]:
    """Σ w·CE / Σ w at weighted positions, plus ``auxiliary`` × (contrast + 1 − cosine) at cues,
    plus ``matching`` × −log(share of attention on earlier answers of the right class).

    With ``part`` the loss at the cues alone, and the layers above the middle one are not run."""
    x, w, cues, where, look = batch
    if part:
        middle = run(model, x, first, part=True)[1]  # type: ignore[operator]
        distance, cosine = sentence_loss(head, vectors, middle, cues)
        return auxiliary * distance, {"sums": cosine}
    last, middle, match_q, match_k = run(model, x, first)  # type: ignore[operator]
    at = w[:, 1:].nonzero(as_tuple=True)
    weight = w[:, 1:][at]
    logits = F.linear(last[:, :-1][at], model.lm_head.weight)  # type: ignore[attr-defined]
    ce = F.cross_entropy(logits.float(), x[:, 1:][at], reduction="none")
    total = (ce * weight).sum() / weight.sum()
    strong = weight >= 0.99
    facts = {"loss": float(total.detach())}
    if bool(strong.any()):
        facts["answer"] = float(ce.detach()[strong].mean())
        hits = logits.detach()[strong].argmax(-1) == x[:, 1:][at][strong]
        facts["hits"] = float(hits.float().mean())
    if matching and len(where):
        q = match_q[where[:, 0], :, where[:, 1]].float()
        k = match_k[where[:, 0]].float()
        scores = torch.einsum("lhd,lhtd->lht", q, k) * q.shape[-1] ** -0.5
        late = torch.arange(x.shape[1], device=x.device)[None] > where[:, 1:]
        every = scores.masked_fill(late[:, None], -1e4).logsumexp(-1)
        right = scores.masked_fill(~look[:, None], -1e4).logsumexp(-1)
        missed = (every - right).mean()
        total = total + matching * missed
        facts["look"] = float((right - every).detach().exp().mean())
    if auxiliary and len(cues) > 8:
        distance, facts["cosine"] = sentence_loss(head, vectors, middle, cues)
        total = total + auxiliary * distance
    return total, facts


def sentence_loss(
    head: nn.Linear, vectors: Tensor, middle: Tensor, cues: Tensor
) -> tuple[Tensor, float]:
    """1 − cosine to the encoder's vector, plus contrast within the batch."""
    guess = F.normalize(head(middle[cues[:, 0], cues[:, 1]].float()).float(), dim=-1)
    truth = vectors[cues[:, 2]]
    cosine = (guess * truth).sum(-1).mean()
    scores = guess @ truth.T * 12.0
    same = (cues[:, 2][:, None] == cues[:, 2][None]) & ~torch.eye(
        len(cues), dtype=torch.bool, device=cues.device
    )
    contrast = F.cross_entropy(
        scores.masked_fill(same, -1e4), torch.arange(len(cues), device=cues.device)
    )
    return 0.3 * contrast + (1 - cosine), float(cosine.detach())


def progress_at(done: float, s: Settings) -> float:
    """Where the curriculum stands after the share ``done`` of the run; -1 while sums come first."""
    if done < s.sums_first:
        return -1.0
    through = (done - s.sums_first) / (1 - s.sums_first)
    return s.first_progress + (1 - s.first_progress) * through


def rate(done: float, s: Settings, warm: float = 0.01) -> float:
    """Warm up over the first ``warm`` of the run, hold, fall linearly over the last ``cool``."""
    up = min(1.0, (done + 0.0005) / warm)
    return up * max(0.05, min(1.0, (1 - done) / s.cool))


def save(path: Path, state: dict[str, Tensor], meta: dict[str, str]) -> None:
    """Write beside, flush, and rename: a kill leaves the old checkpoint or the new one."""
    beside = path.with_suffix(".new")
    save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, beside, metadata=meta)
    with beside.open("rb") as f:
        os.fsync(f.fileno())
    beside.replace(path)


def train(out: Path, s: Settings, steps: int | None = None) -> None:
    """Train until ``minutes``, ``planned_tokens`` or ``steps`` run out; go on from a checkpoint."""
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if s.device == "auto" else s.device
    )
    tokenizer = tokens.load(out)
    pools = Pools(out)
    mixture = Mixture(pools)
    encoder = None if s.start or s.scratch else teacher.folder(s.encoder)
    model = network.create(tokenizer, encoder, s.seed)
    if s.start is not None:
        network.load_weights(model, s.start)
    model = model.to(device)
    vectors = torch.from_numpy(pools.vectors)
    vectors = F.normalize(vectors - vectors.mean(0), dim=-1).to(device)
    head = nn.Linear(model.config.hidden_size, vectors.shape[1]).to(device)
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    named |= {f"auxiliary.{n}": p for n, p in head.named_parameters()}
    optimiser = optim.create(
        named, matrix_lr=s.matrix_lr, other_lr=s.other_lr, embedding_lr=s.embedding_lr
    )
    run = torch.compile(network.forward) if device.type == "cuda" else network.forward
    half = device.type == "cuda" or bfloat16_pays()
    at = {"pool": 0, "batch": 0, "pool_tokens": 0, "tokens": 0, "step": 0, "seconds": 0.0}
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists():
        at |= restore(checkpoint, named, optimiser)
    else:
        fit_start(model, head, vectors, mixture, tokenizer, s)
    started, saved = time.time(), time.time()
    before = at["seconds"]
    record: list[dict[str, float]] = []
    while True:
        if at["batch"] == 0:
            at["pool_tokens"] = at["tokens"]
        # A pool broken off goes on with the progress it began with.
        done = min(1.0, at["pool_tokens"] / s.planned_tokens)
        progress = progress_at(done, s)
        for i, group, part in batches(
            mixture, tokenizer, s, int(at["pool"]), int(at["batch"]), progress
        ):
            batch = collate(group, tokenizer.pad_token_id, 8 if device.type == "cpu" else 128)
            batch = tuple(b.to(device) for b in batch)  # type: ignore[assignment]
            draw = random.Random(f"{s.seed}/{at['pool']}/{i}")
            first = first_positions(draw, *batch[0].shape).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                matching = s.matching * max(0.0, 1 - done / 0.8)
                loss, facts = loss_of(
                    model, head, vectors, batch, s.auxiliary, matching, run, first, part
                )
            loss.backward()
            done_now = min(1.0, at["tokens"] / s.planned_tokens)
            optim.step(optimiser, rate(done_now, s), rate(done_now, s, s.warm))
            at |= {
                "batch": i + 1,
                "tokens": at["tokens"] + sum(len(e.ids) for e in group),
                "step": at["step"] + 1,
                "seconds": before + time.time() - started,
            }
            record.append(facts)
            if at["step"] % 25 == 0:
                report(out, at, record)
                record = []
            over = (
                at["tokens"] >= s.planned_tokens
                or time.time() - started > 60 * s.minutes
                or (steps is not None and at["step"] >= steps)
            )
            if over or time.time() - saved > s.checkpoint_seconds:
                state = {**named}
                for key, value in optim.state(optimiser, named).items():
                    state[f"optimiser.{key}"] = value
                save(checkpoint, state, {"at": json.dumps(at)})
                saved = time.time()
            if over:
                return
        at |= {"pool": at["pool"] + 1, "batch": 0}


def first_positions(draw: random.Random, rows: int, length: int) -> Tensor:
    """Where each row begins, (B,): one in five anywhere, so that all positions learn."""
    last = network.POSITIONS - length
    places = [draw.randint(0, last) if draw.random() < 0.2 else 0 for _ in range(rows)]
    return torch.tensor(places)


@torch.no_grad()
def fit_start(
    model: nn.Module,
    head: nn.Linear,
    vectors: Tensor,
    mixture: Mixture,
    tokenizer: object,
    s: Settings,
    pools: int = 3,
) -> None:
    """What the encoder's weights lack, by ridge regression on the middle layer's states.

    The sentence head: a random one would push the layers about. And copying, where weights are not
    a run's own (``start``): the matching heads' values read which token stands where they look, and
    their outputs write its row of the (tied) table, so that what they attend to becomes likely.
    """
    states, truths, seen, rows = [], [], [], []
    table = model.get_input_embeddings().weight  # type: ignore[operator]
    for pool in range(pools):
        for _, group, _ in batches(mixture, tokenizer, s, -1 - pool, 0, -1.0 if pool else 0.3):
            x, _, cues, _, _ = collate(group, tokenizer.pad_token_id, 8)  # type: ignore[attr-defined]
            x = x.to(vectors.device)
            middle = network.forward(model, x, part=True)[1].float()
            states.append(middle[cues[:, 0], cues[:, 1]])
            truths.append(vectors[cues[:, 2]])
            real = x != tokenizer.pad_token_id  # type: ignore[attr-defined]
            seen.append(middle[real][::3])
            rows.append(table[x[real][::3]])
    x, y = torch.cat(states), torch.cat(truths)
    weight, bias = ridge(x, y)
    head.weight.copy_(weight)
    head.bias.copy_(bias)
    guess = F.normalize(head(x), dim=-1)
    print("sentence head fitted, cosine", round(float((guess * y).sum(-1).mean()), 3), flush=True)
    if s.start is None and not s.scratch:
        x, y = torch.cat(seen), torch.cat(rows)
        weight, bias = ridge(x, y - y.mean(0))
        network.copy_heads(model, x, weight, bias)


def ridge(x: Tensor, y: Tensor, strength: float = 1e-2) -> tuple[Tensor, Tensor]:
    """Weight (out, in) and bias (out,) of the linear map from x (N, in) to y (N, out)."""
    shift, mean = x.mean(0), y.mean(0)
    gram = (x - shift).T @ (x - shift)
    gram += strength * gram.diagonal().mean() * torch.eye(len(gram), device=gram.device)
    weight = torch.linalg.solve(gram, (x - shift).T @ (y - mean)).T
    return weight, mean - weight @ shift


def restore(
    path: Path, named: dict[str, nn.Parameter], optimiser: torch.optim.AdamW
) -> dict[str, float]:
    """Read a checkpoint into the parameters and the optimiser; returns where it was."""
    from safetensors import safe_open

    state = load_file(path)
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(state[name])
    start = "optimiser."
    saved = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
    optim.restore(optimiser, named, saved)
    with safe_open(path, "pt") as f:
        return json.loads(f.metadata()["at"])


def report(out: Path, at: dict[str, float], record: list[dict[str, float]]) -> None:
    """Append the mean of the last steps to ``curve.jsonl`` and print it."""
    row = {k: round(v, 1) for k, v in at.items()}
    for key in ("loss", "answer", "hits", "cosine", "sums", "look"):
        found = [r[key] for r in record if key in r and math.isfinite(r[key])]
        if found:
            row[key] = round(sum(found) / len(found), 4)
    with (out / "curve.jsonl").open("a") as lines:
        lines.write(json.dumps(row) + "\n")
    print(row, flush=True)
