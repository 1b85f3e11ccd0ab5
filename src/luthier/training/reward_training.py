"""Reward models: a number for an answer, learnt from which of two was preferred, and by how much.

L = −mean log σ(r(x, y_c) − r(x, y_r) − m(grade)) (Llama 2, arXiv:2307.09288, section 3.2.2), with r
a linear head on the state of an answer's last token. It begins as the model that is improved: a
copy of its weights, and an adapter that goes on from its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from luthier.context import report_progress
from luthier.engine import Session, attention_masks, autocast, injected
from luthier.errors import ModelError, TechniqueError
from luthier.models.adaptation import Adapter
from luthier.models.model import Model
from luthier.records import Example
from luthier.training.preference_rows import preference_rows
from luthier.training.rows import TrainRow, batch_of, batches, rows_for
from luthier.training.shared_prompt import (
    computed_tokens,
    shared_batch,
    shares_prompts,
)
from luthier.training.trainable import FROZEN_BASE

# What r(y_c) − r(y_r) should exceed, by grade (Llama 2, table 27).
SMALL_MARGINS: Mapping[str, float] = {
    "significantly": 1.0, "better": 2 / 3, "slightly": 1 / 3, "unsure": 0.0,
}  # fmt: skip
LARGE_MARGINS: Mapping[str, float] = {
    "significantly": 3.0, "better": 2.0, "slightly": 1.0, "unsure": 0.0,
}  # fmt: skip
REWARD_FILE = "reward.safetensors"
ROWS_AT_ONCE = 16
LEAST_STEPS = 80  # few pairs are seen several times
HEAD_RATE = 10  # times the learning rate of the adapter: the head begins at zero


@dataclass(frozen=True, slots=True)
class RewardPair:
    """A prompt (its target is the better answer, `rejected` the worse) and how much better."""

    example: Example
    grade: str = "better"


@dataclass(frozen=True, slots=True, eq=False)
class RewardModel:
    """The model whose states are read, and the head: `weight` (H,), `bias`.

    `lengths` and `rewards` are the 1st and 99th percentile over the answers it learnt from.
    """

    model: Model
    weight: torch.Tensor
    bias: float
    lengths: tuple[float, float] = (0.0, 0.0)
    rewards: tuple[float, float] = (0.0, 0.0)

    @contextmanager
    def opened(self) -> Iterator[OpenReward]:
        """The reward model on a copy of the base, so that another model may train meanwhile."""
        with session_of_copy(self.model, self.model.adaptation.adapter) as session:
            yield OpenReward(self, session)

    def save(self, folder: Path) -> Path:
        """Write the adaptation and the head."""
        from safetensors.torch import save_file

        self.model.save(folder)
        tensors = {
            "weight": self.weight,
            "bias": torch.tensor([self.bias]),
            "ranges": torch.tensor([*self.lengths, *self.rewards]),
        }
        save_file(tensors, folder / REWARD_FILE)
        return folder


def load_reward(folder: Path, *, model: Model) -> RewardModel:
    """Read a reward model back, over the base of `model`. ModelError where there is none."""
    from safetensors.torch import load_file

    from luthier.models.storage import open_adaptation

    if not (folder / REWARD_FILE).is_file():
        raise ModelError(
            f"{folder} holds no reward model", next_step="Train one: luthier feedback train."
        )
    tensors = load_file(folder / REWARD_FILE)
    ranges = tensors["ranges"].tolist()
    return RewardModel(
        Model(model.backend, open_adaptation(folder)[0]),
        tensors["weight"],
        float(tensors["bias"][0]),
        (ranges[0], ranges[1]),
        (ranges[2], ranges[3]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class OpenReward:
    """A reward model that scores answers, on its own copy of the base."""

    reward: RewardModel
    session: Session

    def __call__(self, examples: Sequence[Example], answers: Sequence[str]) -> list[float]:
        """A number for each answer, the higher the better."""
        asked = [replace(e, target=a or " ") for e, a in zip(examples, answers, strict=True)]
        rows = rows_for(self.reward.model, self.session, asked)
        head = self.reward.weight.to(self.session.device)
        found: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(rows), ROWS_AT_ONCE):
                states = last_states(self.session, rows[start : start + ROWS_AT_ONCE])
                found += (states[:, 0] @ head + self.reward.bias).tolist()
        return found

    def drift(self, answers: Sequence[str], rewards: Sequence[float]) -> float:
        """The share of answers whose length or reward lies outside of what it learnt from."""
        (shortest, longest), (least, most) = self.reward.lengths, self.reward.rewards
        outside = [
            not (shortest <= len(a.split()) <= longest and least <= r <= most)
            for a, r in zip(answers, rewards, strict=True)
        ]
        return sum(outside) / max(1, len(outside))


@dataclass(frozen=True, slots=True)
class RewardSettings:
    """How a reward model trains. `epochs`: passes over the pairs, one as in Llama 2 by default, and
    `least_steps` at least, as far as `tokens` reach."""

    tokens: int
    learning_rate: float = 1e-3
    batch_size: int = 8
    epochs: float = 1.0
    rank: int = 8
    least_steps: int = LEAST_STEPS
    margins: Mapping[str, float] = field(default_factory=lambda: SMALL_MARGINS)


def train_reward(
    model: Model, pairs: Sequence[RewardPair], settings: RewardSettings, *, seed: int = 0
) -> tuple[RewardModel, int]:
    """A reward model from pairs, and the forward-token equivalents that it took.

    TechniqueError where no pair prefers one answer.
    """
    pairs = [p for p in pairs if p.grade != "unsure" and p.example.rejected]
    if not pairs:
        raise TechniqueError(
            "No opinion prefers one answer: all are ties",
            next_step="Judge answers that differ more: sample at a higher temperature.",
        )
    own = model.adaptation.adapter
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with session_of_copy(model, own, rank=settings.rank) as session:
            rows = preference_rows(model, session, [p.example for p in pairs])
            width = session.embeddings.weight.shape[1]
            head = torch.nn.Parameter(torch.zeros(width, device=session.device))
            spent = _train(session, rows, pairs, head, settings, seed=seed)
            adapter = _adapter(session)
            found = RewardModel(model.adapt(adapter=adapter), head.detach().cpu(), 0.0)
            live = OpenReward(found, session)
            examples = [p.example for p in pairs]
            answers = [e.target for e in examples] + [e.rejected or "" for e in examples]
            scores = torch.tensor(live([*examples, *examples], answers))
    words = torch.tensor([float(len(a.split())) for a in answers])
    centre = float(scores.mean())
    return (
        replace(
            found,
            bias=-centre,
            lengths=_range(words),
            rewards=_range(scores - centre),
        ),
        spent,
    )


def last_states(session: Session, rows: Sequence[TrainRow]) -> torch.Tensor:
    """(B, J, H): the last layer's states at the last token of each answer, with gradients."""
    with autocast(session.device, session.dtype):
        if len(rows[0].answers) > 1 and shares_prompts(session):
            batch = shared_batch(session, rows)
            out = session.module(
                inputs_embeds=session.embed(batch.ids),
                attention_mask=attention_masks(
                    session, batch.seen, batch.positions, batch.positions
                ),
                position_ids=batch.positions,
                output_hidden_states=True,
                logits_to_keep=1,
                use_cache=False,
            )
            states = out.hidden_states[-1].float()
            place = batch.ends.unsqueeze(-1).expand(-1, -1, states.shape[-1])
            ends: torch.Tensor = states.gather(1, place)
            return ends
        plain = batch_of(session, rows)
        if session.encoder_decoder:
            raise TechniqueError(
                "A reward model reads the end of an answer, and this base is an encoder–decoder",
                next_step="Take a causal language model.",
            )
        out = session.module(
            inputs_embeds=session.embed(plain.ids),
            attention_mask=plain.mask,
            position_ids=plain.positions,
            output_hidden_states=True,
            logits_to_keep=1,
            use_cache=False,
        )
    last: torch.Tensor = out.hidden_states[-1][:, -1].float()
    return last.view(len(rows), plain.answers_per_row, -1)


@contextmanager
def session_of_copy(
    model: Model, adapter: Adapter | None, *, rank: int | None = None
) -> Iterator[Session]:
    """A session on a copy of the model's weights. With `rank` an adapter trains: the given one, or
    a fresh LoRA of that rank."""
    with model.backend.session(replace(model.adaptation, adapter=None)) as of_base:
        base = replace(of_base, module=copy.deepcopy(of_base.module))
    if adapter is None and rank is not None:
        adapter = Adapter(_fresh_config(base.module, rank), {})
    if adapter is None:
        yield base
        return
    with injected(base.module, adapter) as wrapped:
        yield replace(
            base, peft=wrapped, bos_in_prefix=adapter.starts_with_bos, head=adapter.head + base.head
        )


def _train(
    session: Session, rows: Sequence[Any], pairs: Sequence[RewardPair], head: torch.nn.Parameter,
    settings: RewardSettings, *, seed: int,
) -> int:  # fmt: skip
    margin = {
        id(row): settings.margins.get(pair.grade, 0.0)
        for row, pair in zip(rows, pairs, strict=True)
    }
    weights = [p for p in session.peft.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": weights, "initial": settings.learning_rate},
            {"params": [head], "initial": HEAD_RATE * settings.learning_rate},
        ],
        lr=settings.learning_rate,
        weight_decay=0.0,
    )
    size = max(1, min(settings.batch_size, len(rows)))
    steps = max(settings.least_steps, int(len(rows) / size * settings.epochs))
    each = FROZEN_BASE * sum(map(computed_tokens, rows)) / len(rows) * size
    steps = max(1, min(steps, int(settings.tokens / each)))  # the rate has come down at the last
    spent = 0
    source = batches(rows, size=size, seed=seed)
    for step in range(steps):
        batch = next(source)
        cost = FROZEN_BASE * sum(computed_tokens(row) for row in batch)
        if spent + cost > settings.tokens:
            break
        rewards = last_states(session, batch) @ head
        margins = torch.tensor([margin[id(row)] for row in batch], device=rewards.device)
        loss = -torch.nn.functional.logsigmoid(rewards[:, 0] - rewards[:, 1] - margins).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimiser.param_groups:
            group["lr"] = group["initial"] * min(1.0, (step + 1) / 5) * (1 - step / steps)
        torch.nn.utils.clip_grad_norm_([*weights, head], 1.0)
        optimiser.step()
        spent += cost
        report_progress(step + 1, steps, f"reward model, loss {float(loss.detach()):.2f}")
    return spent


def _adapter(session: Session) -> Adapter:
    import peft

    from luthier.training.peft_config import adapter_config

    tensors = peft.get_peft_model_state_dict(session.peft)
    config = adapter_config(session.peft.active_peft_config)
    return Adapter(config, {k: v.detach().cpu().clone() for k, v in tensors.items()})


def _fresh_config(module: Any, rank: int) -> Mapping[str, Any]:
    import peft

    from luthier.training.peft_config import adapter_config, has_transposed_weights

    return adapter_config(
        peft.LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear",
            lora_dropout=0.0, fan_in_fan_out=has_transposed_weights(module),
        )
    )  # fmt: skip


def _range(values: torch.Tensor) -> tuple[float, float]:
    low, high = torch.quantile(values.float(), torch.tensor([0.01, 0.99])).tolist()
    return low, high
