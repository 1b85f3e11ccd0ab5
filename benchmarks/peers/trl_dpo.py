"""TRL's DPOTrainer with LoRA: chosen and rejected rows side by side, reference precomputed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import timed
from luthier.training.preference_rows import PreferenceRow


@dataclass(frozen=True)
class TrainedPairs:
    """Seconds of `train()` alone, and the trainer afterwards."""

    seconds: float
    trainer: Any


def train(
    module: Any, tokenizer: Any, rows: Sequence[PreferenceRow], *,
    rank: int, rate: float, beta: float, batch: int, precompute: bool,
) -> TrainedPairs:  # fmt: skip
    """One epoch over the rows, which are handed over as text that tokenises to the same ids.

    `precompute`: the log-probabilities of the reference are computed before `train()`, and their
    time does not count; else the reference is read at every step.
    """
    import datasets
    import peft
    import transformers
    import trl

    datasets.disable_progress_bars()

    def text(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    data = datasets.Dataset.from_list(
        [
            {
                "prompt": text(row.prompt),
                "chosen": text(row.answers[0]),
                "rejected": text(row.answers[1]),
            }
            for row in rows
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.DPOTrainer(
            model=module,
            args=trl.DPOConfig(
                output_dir=folder,
                num_train_epochs=1,
                per_device_train_batch_size=batch,
                learning_rate=rate,
                beta=beta,
                precompute_ref_log_probs=precompute,
                bf16=False,
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
        return TrainedPairs(timed(trainer.train)[0], trainer)
