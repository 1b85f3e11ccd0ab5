"""Prefix tuning: learnt keys and values before every layer's own (Li and Liang 2021,
arXiv:2101.00190).

In each layer P learnt (key, value) pairs stand before those of the input: attention reads
[K_P; K_x] and [V_P; V_x], with K_P and V_P (key heads, P, head width) a layer (section 4.1 there).
They start as those that the base computes for demonstrations (CT-KV: Lu et al. 2025,
arXiv:2507.04221), so that training begins where few-shot prompting ends; a random start costs most
of the budget. The base computes them once: a step pays for inputs and answers only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of

if TYPE_CHECKING:
    from luthier.engine import Session

TEXT_TOKENS = 16


@dataclass(frozen=True)
class PrefixTuning(Technique):
    """Trains keys and values that stand before those of the input in every layer.

    **Settings**

    - `tokens`: P, the length of the prefix. By default as many as the demonstrations take, at most
      512: one short example of each label, which are not trained on. Where P tokens do not hold
      them, or the model has a prompt already, the prefix begins at the instruction and the labels,
      with 16 tokens unless given.
    - `learning_rates`: those that are tried, in units of the spread of the base's keys, and values,
      in each layer. By default 0.03 for demonstrations and 0.1 for the text.
    - `batch_size`: rows a step, 2 by default.
    - `prompt`: "bare" (default) trains without the instruction, so that requests are shorter;
      "task" trains under the task's own prompt.
    """

    tokens: int | None = None
    learning_rates: tuple[float, ...] | None = None
    batch_size: int = 2
    prompt: str = "bare"

    name: ClassVar[str] = "prefix"
    family: ClassVar[str] = "soft prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(gradients=True, fit_speed=0.3)
    card: ClassVar[Card] = Card(
        changes="puts learnt keys and values before every layer's own",
        needs="gradients and a decoder-only base",
        pays_when="a soft prompt is not enough and the weights must stay as they are",
        costs="2 · layers · width numbers a token; every request attends to them",
        source="Li and Liang 2021, arXiv:2101.00190; from demonstrations: arXiv:2507.04221",
    )

    def __post_init__(self) -> None:
        if self.tokens is not None and self.tokens < 1:
            raise TechniqueError(f"tokens={self.tokens} is no length", next_step="Take 1 or more.")

    def unmet_by_model(self, model: Model) -> str | None:
        """In words, why this base cannot carry a prefix; None where it can."""
        if not model.backend.facts.encoder_decoder:
            return None
        return (
            f"{self.name} is for decoder-only bases, and {model.backend.name} is an "
            "encoder–decoder: soft-prompt, lora, ia3 and full are for both"
        )

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Passes over the training examples that the tokens buy, roughly."""
        from luthier.training.passes import planned_passes
        from luthier.training.trainable import FROZEN_BASE

        return planned_passes(model, task, tokens, cost_factor=FROZEN_BASE, style=self.prompt)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the prefix; the base is not written to."""
        check_needs(self, model)
        import peft

        from luthier.models.adaptation import Adapter
        from luthier.training.adapter_fit import require_free_adapter_slot
        from luthier.training.fit import TrainingSettings, budget_tokens, fit
        from luthier.training.objectives import LanguageModelLoss
        from luthier.training.parameters import KeysAndValues
        from luthier.training.peft_config import adapter_config
        from luthier.training.prompt_tuning.prefixes import PrefixTrials, keys_and_values, scales
        from luthier.training.starting_prompt import starting_model

        backend = model.backend
        require_free_adapter_slot(model, self.name)
        start = starting_model(model, task, style=self.prompt)
        tokens = budget_tokens(budget, backend)
        with backend.session(start.adaptation) as bare_session:
            prefix = self._start(bare_session, model, start, task, seed)
            length = len(prefix.ids)
            pairs = keys_and_values(bare_session, prefix.ids)
            scale = scales(pairs)
            trials = [KeysAndValues(pairs.flatten(1), scale) for _ in prefix.learning_rates]
            session = replace(bare_session, bos_in_prefix=prefix.starts_with_bos, head=prefix.head)
            result = fit(
                start,
                task,
                trainable=PrefixTrials(session, trials, pairs.shape[1:]),
                objective=LanguageModelLoss(),
                settings=TrainingSettings(
                    max(0, tokens - length),
                    prefix.learning_rates,
                    self.batch_size,
                    virtual_tokens=length,
                    exclude=prefix.shown,
                ),
                seed=seed,
            )
            learnt = trials[result.winners[0]].soft()[0].detach().cpu()
        record = replace(
            result.record,
            spent_tokens=(result.record.spent_tokens or 0) + length,
            settled={"init": prefix.init, "virtual_tokens": length},
        )
        config = adapter_config(
            peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=length)
        )
        tensors = {"prompt_embeddings": learnt}
        adapter = Adapter(config, tensors, prefix.starts_with_bos, prefix.head)
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return start.adapt(adapter=adapter, lineage=lineage)

    def _start(
        self, session: Session, model: Model, start: Model, task: Task, seed: int
    ) -> PrefixStart:
        """Where the prefix of `model` begins; `start` is the model with its prompt for training."""
        from luthier.models.prompt import Prompt
        from luthier.training.prompt_tuning.initialization import (
            from_demonstrations,
            most_demonstration_tokens,
        )

        had = model.adaptation
        if had.prompt == Prompt() and had.knowledge is None and had.soft_prompt is None:
            most = most_demonstration_tokens(session, self.tokens)
            shown = from_demonstrations(session, start, task, most, seed)
            if shown is not None:
                return PrefixStart(
                    "demonstrations",
                    shown.ids,
                    shown.ids[:1] == (session.tokenizer.bos_token_id,),
                    self.learning_rates or (0.03,),
                    frozenset(e.id for e in shown.examples),
                    shown.head,
                )
        count = self.tokens or TEXT_TOKENS
        text = " ".join([task.instruction, ", ".join(task.labels)]).strip() or task.name
        ids = list(session.tokenizer(text, add_special_tokens=True).input_ids)
        ids = (ids * count)[:count]
        return PrefixStart("text", tuple(ids), False, self.learning_rates or (0.1,), frozenset())


@dataclass(frozen=True)
class PrefixStart:
    """Where a prefix begins.

    `init` names it ("demonstrations" or "text"); `ids` are the tokens whose keys and values it
    begins as; `starts_with_bos` and `head` are as in `Adapter`; `shown` holds the ids of the
    examples that stand in it.
    """

    init: str
    ids: tuple[int, ...]
    starts_with_bos: bool
    learning_rates: tuple[float, ...]
    shown: frozenset[str]
    head: tuple[int, ...] = ()
