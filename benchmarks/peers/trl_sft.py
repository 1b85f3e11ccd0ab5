"""TRL's SFTTrainer with its packing: best-fit decreasing, padding-free, loss on completions."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.measure import timed
from luthier.training.rows import TrainRow


def train(
    module: Any, tokenizer: Any, rows: Sequence[TrainRow], *,
    rank: int, rate: float, packed_tokens: int, bf16: bool,
) -> tuple[float, int]:  # fmt: skip
    """One epoch of LoRA: seconds of `train()` alone, and the packs it made of the rows.

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
        return timed(trainer.train)[0], len(trainer.train_dataset)
