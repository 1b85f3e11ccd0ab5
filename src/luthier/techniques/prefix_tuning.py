"""Prefix tuning: learnt keys and values before every layer's own (Li and Liang 2021,
arXiv:2101.00190).

In each layer P learnt (key, value) pairs stand before those of the input. They start as the keys
and values that the base computes for the task's own text, for a random start costs most of the
budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability
from luthier.task.task import Task
from luthier.techniques.base import Card, check_needs, settings_of

if TYPE_CHECKING:
    from luthier.models.local.session import Session


@dataclass(frozen=True)
class PrefixTuning:
    """`tokens` P is the prefix length."""

    tokens: int = 16
    learning_rates: tuple[float, ...] = (1e-2, 5e-2)
    batch_size: int = 16
    prompt: str = "bare"

    name: ClassVar[str] = "prefix"
    family: ClassVar[str] = "adapter"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    card: ClassVar[Card] = Card(
        changes="puts learnt keys and values before every layer's own",
        needs="gradients and a decoder-only base",
        pays_when="a soft prompt is not enough and the weights must stay as they are",
        costs="2 · layers · width numbers a token; every request attends to them",
        source="Li and Liang 2021, arXiv:2101.00190",
    )

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise TechniqueError(f"tokens={self.tokens} is no length", next_step="Take 1 or more.")

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the prefix; the base is not written to."""
        check_needs(self, model)
        from luthier.training.adapter_fit import AdapterPlan, fit_adapter

        def config(module: Any) -> Any:
            import peft

            if module.config.is_encoder_decoder:
                raise TechniqueError(
                    "prefix tuning here is for decoder-only bases",
                    choices=("lora", "ia3", "soft-prompt", "full"),
                    next_step="Choose one of these for an encoder–decoder.",
                )
            return peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=self.tokens)

        plan = AdapterPlan(
            self.name,
            settings_of(self),
            config,
            prepare=lambda session: start_from_text(session, task, self.tokens),
        )
        return fit_adapter(model, task, plan, budget=budget, seed=seed)


def start_from_text(session: Session, task: Task, tokens: int) -> None:
    """Set the prefix to the base's keys and values for the task's instruction and labels."""
    import torch
    from transformers import DynamicCache

    text = " ".join([task.instruction, ", ".join(task.labels)]).strip() or task.name
    ids = session.tokenizer(text, add_special_tokens=True).input_ids
    ids = (list(ids) * tokens)[:tokens]
    with torch.inference_mode():
        cache = session.module(
            input_ids=torch.tensor([ids], device=session.device),
            past_key_values=DynamicCache(),
            use_cache=True,
        ).past_key_values
    # PEFT reads one row per token as (layer, key or value, head, width) flattened.
    parts = []
    for layer in cache.layers:
        parts += [layer.keys[0].transpose(0, 1), layer.values[0].transpose(0, 1)]
    flat = torch.stack(parts, 1).reshape(tokens, -1)
    encoder = session.peft.prompt_encoder[session.peft.active_adapter]
    if encoder.embedding.weight.shape == flat.shape:
        encoder.embedding.weight.data.copy_(flat)
