"""PEFT under the transformers Trainer: the way its documentation trains a soft prompt or LoRA.

It gets what was found to help: rows grouped by length, batches padded to their own longest row,
labels on the answer alone, the faster of float32 and bfloat16 autocast, and the faster of fused
and plain attention, each tried for a few steps off the clock.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch

from benchmarks.measure import timed
from luthier.training.rows import TrainRow


@dataclass(frozen=True)
class Settings:
    """What is chosen for a run; `steps` at batches of `batch_size` rows, linear decay."""

    steps: int
    learning_rate: float
    batch_size: int
    seed: int = 0
    bf16: bool = False
    attention: str = "sdpa"

    def record(self) -> dict[str, Any]:
        """For the results file."""
        return {
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "bf16_autocast": self.bf16,
            "attention": self.attention,
            "train_sampling_strategy": "group_by_length",
            "optimiser": "adamw_torch",
        }


def fresh(module: Any, *, attention: str) -> Any:
    """A copy of the base for a peer to change."""
    made = copy.deepcopy(module)
    made.set_attn_implementation(attention)
    return made.requires_grad_(True)


def columns(rows: Sequence[TrainRow]) -> list[dict[str, Any]]:
    """Rows as a data set for the Trainer; labels stand on the answer alone."""
    return [
        {
            "input_ids": list(row.ids),
            "attention_mask": [1] * len(row.ids),
            "labels": [-100] * row.start + list(row.ids[row.start :]),
        }
        for row in rows
    ]


def train(wrapped: Any, tokenizer: Any, rows: Sequence[TrainRow], settings: Settings) -> float:
    """Run the Trainer over a PeftModel (or a whole model); seconds of `train()` alone."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=5,
            max_grad_norm=1.0,
            weight_decay=0.0,
            optim="adamw_torch",
            bf16=settings.bf16,
            use_cpu=True,
            seed=settings.seed,
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            logging_strategy="no",
            eval_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = transformers.Trainer(
            model=wrapped,
            args=arguments,
            train_dataset=columns(rows),
            data_collator=transformers.DataCollatorForSeq2Seq(tokenizer, padding=True),
            processing_class=tokenizer,
        )
        trainer.remove_callback(transformers.PrinterCallback)  # stdout is for the results
        return timed(trainer.train)[0]


def prompt_tuning(module: Any, start: torch.Tensor) -> Any:
    """A PeftModel with virtual tokens before the input, beginning as `start` (P, H)."""
    import peft

    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(start))
    wrapped = peft.get_peft_model(module, config)
    with torch.no_grad():
        wrapped.prompt_encoder[wrapped.active_adapter].embedding.weight.copy_(start)
    return wrapped


def virtual_tokens(wrapped: Any) -> torch.Tensor:
    """The trained (1, P, H), as Luthier takes it."""
    weight: torch.Tensor = wrapped.prompt_encoder[wrapped.active_adapter].embedding.weight
    return weight.detach().float().clone().unsqueeze(0)


def lora(module: Any, *, rank: int, seed: int) -> Any:
    """A PeftModel with the settings Luthier's own LoRA has."""
    import peft

    torch.manual_seed(seed)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
    )
    return peft.get_peft_model(module, config)


def tuned(
    make: Any, tokenizer: Any, rows: Sequence[TrainRow], settings: Settings
) -> tuple[Settings, Mapping[str, float]]:
    """`settings` with the fastest precision and attention; `make(attention)` builds a model.

    Each choice runs for four steps over the same rows, the first try thrown away.
    """
    tried: dict[tuple[bool, str], float] = {}
    for bf16, attention in product((False, True), ("sdpa", "eager")):
        short = replace(settings, steps=4, bf16=bf16, attention=attention)
        if not tried:
            train(make(attention), tokenizer, rows, replace(short, steps=1))
        tried[bf16, attention] = train(make(attention), tokenizer, rows, short)
    bf16, attention = min(tried, key=lambda choice: tried[choice])
    seconds = {f"{'bfloat16' if b else 'float32'}, {a}": round(s, 3) for (b, a), s in tried.items()}
    return replace(settings, bf16=bf16, attention=attention), seconds
