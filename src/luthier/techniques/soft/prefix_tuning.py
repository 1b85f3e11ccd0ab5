"""Prefix tuning: learnt keys and values before every layer's own (Li and Liang 2021,
arXiv:2101.00190).

In each layer P learnt (key, value) pairs stand before those of the input. They start as those that
the base computes for demonstrations (CT-KV: Lu et al. 2025, arXiv:2507.04221), so that training
begins where few-shot prompting ends; a random start costs most of the budget. The base computes
them once: a step pays for inputs and answers only.
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
    """`tokens` P is the prefix length: as many as the demonstrations take, at most 512 unless
    given. They are one short example of each label, which are not trained on. Where P tokens do not
    hold them, or the model has a prompt already, the prefix begins at the instruction and the
    labels: 16 tokens unless given.

    `learning_rates` are in units of the spread of the base's keys, and values, in each layer: 0.03
    for demonstrations, 0.1 for the text."""

    tokens: int | None = None
    learning_rates: tuple[float, ...] | None = None
    batch_size: int = 2
    prompt: str = "bare"

    name: ClassVar[str] = "prefix"
    family: ClassVar[str] = "soft prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(gradients=True)
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

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the prefix; the base is not written to."""
        check_needs(self, model)
        import peft

        from luthier.models.adaptation import Adapter
        from luthier.training.adapter_fit import adapter_config
        from luthier.training.fit import Settings, fit
        from luthier.training.parameters import KeysAndValues
        from luthier.training.preparation import (
            budget_tokens,
            free_adapter_slot,
            starting,
            style_of,
        )
        from luthier.training.prompt_tuning.prefixes import PrefixTrials, keys_and_values, units

        backend = model.backend
        free_adapter_slot(model, self.name)
        ready = starting(model, task, style_of(self.prompt))
        tokens = budget_tokens(budget, backend)
        with backend.session(ready.adaptation) as session:
            begun = self._begun(session, model, ready, task, seed)
            start = keys_and_values(session, begun.ids)
            unit = units(start)
            trial_parameter_sets = [KeysAndValues(start.flatten(1), unit) for _ in begun.rates]
            opened = replace(session, bos_in_prefix=begun.opens)
            fitted = fit(
                ready,
                task,
                session=opened,
                trainable=PrefixTrials(opened, trial_parameter_sets, start.shape[1:]),
                settings=Settings(begun.rates, self.batch_size),
                tokens=max(0, tokens - len(begun.ids)),
                seed=seed,
                room=len(begun.ids),
                leave_out=begun.shown,
            )
            learnt = trial_parameter_sets[fitted.winners[0]].soft()[0].detach().cpu()
        record = replace(
            fitted.record,
            spent_tokens=(fitted.record.spent_tokens or 0) + len(begun.ids),
            settled={"init": begun.init, "virtual_tokens": len(begun.ids)},
        )
        config = adapter_config(
            peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(begun.ids))
        )
        adapter = Adapter(config, {"prompt_embeddings": learnt}, begun.opens)
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return ready.adapt(adapter=adapter, lineage=lineage)

    def _begun(
        self, session: Session, model: Model, ready: Model, task: Task, seed: int
    ) -> PrefixStart:
        from luthier.models.prompt import Prompt
        from luthier.training.prompt_tuning.initialization import (
            from_demonstrations,
            room_for_demonstrations,
        )

        had = model.adaptation
        if had.prompt == Prompt() and had.knowledge is None and had.soft_prompt is None:
            most = room_for_demonstrations(session, self.tokens)
            shown = from_demonstrations(session, ready, task, most, seed)
            if shown is not None:
                return PrefixStart(
                    "demonstrations",
                    shown.ids,
                    shown.ids[:1] == (session.tokenizer.bos_token_id,),
                    self.learning_rates or (0.03,),
                    frozenset(e.id for e in shown.examples),
                )
        count = self.tokens or TEXT_TOKENS
        text = " ".join([task.instruction, ", ".join(task.labels)]).strip() or task.name
        ids = list(session.tokenizer(text, add_special_tokens=True).input_ids)
        ids = (ids * count)[:count]
        return PrefixStart("text", tuple(ids), False, self.learning_rates or (0.1,), frozenset())


@dataclass(frozen=True)
class PrefixStart:
    """`ids` whose keys and values the prefix begins as; `opens` as `Adapter.starts_with_bos`; `shown`: ids of
    the examples that stand in it."""

    init: str
    ids: tuple[int, ...]
    opens: bool
    rates: tuple[float, ...]
    shown: frozenset[str]
