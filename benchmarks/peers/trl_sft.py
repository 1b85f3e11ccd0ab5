"""TRL's SFTTrainer with its packing: best-fit decreasing, padding-free, loss on completions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.measure import timed
from luthier.training.rows import TrainRow


@dataclass(frozen=True)
class Trained:
    """Seconds of `train()` alone, the packs it made of the rows, and the trainer afterwards."""

    seconds: float
    packs: int
    trainer: Any


def train(
    module: Any, tokenizer: Any, rows: Sequence[TrainRow], *,
    rank: int, rate: float, packed_tokens: int, bf16: bool,
) -> Trained:  # fmt: skip
    """One epoch of LoRA.

    Rows are handed over as ids with labels, so that both sides train on the very same tokens.
    """
    import datasets
    import peft
    import transformers
    import trl

    datasets.disable_progress_bars()
    data = datasets.Dataset.from_list(
        [
            {
                "input_ids": list(r.ids),
                "labels": [-100] * r.start + list(r.ids[r.start :]),
            }
            for r in rows
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.SFTTrainer(
            model=module,
            args=trl.SFTConfig(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=1,
                learning_rate=rate,
                lr_scheduler_type="linear",
                packing=True,
                packing_strategy="bfd",
                max_length=packed_tokens,
                bf16=bf16,
                gradient_checkpointing=False,
                use_cpu=True,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=peft.LoraConfig(
                task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear"
            ),
        )
        trainer.remove_callback(transformers.PrinterCallback)
        return Trained(timed(trainer.train)[0], len(trainer.train_dataset), trainer)


def one_pack(trainer: Any) -> tuple[list[TrainRow], dict[str, torch.Tensor]]:
    """The rows of a pack, and the gradient of its loss as the trainer computes it."""
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    places = batch["position_ids"][0].tolist()
    starts = [i for i, place in enumerate(places) if place == 0]
    rows = []
    for first, last in zip(starts, [*starts[1:], len(ids)], strict=True):
        answer = next(i for i in range(first, last) if labels[i] != -100)
        rows.append(TrainRow(ids[first:last], answer - first))
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    return rows, {
        name: parameter.grad.clone()
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad
    }
