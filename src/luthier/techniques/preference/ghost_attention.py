"""Ghost attention (Llama 2, arXiv:2307.09288, section 3.3): an instruction that holds over a whole
conversation although it stands at its beginning only.

The model answers with the instruction before every question, and learns these answers with the
instruction in its place, at the beginning. Loss is on the last answer alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from luthier.content import Conversation, Message
from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Example
from luthier.task.task import Task
from luthier.techniques.base import Card, check_needs
from luthier.techniques.preference.answer_tuning import AnswerTuning


@dataclass(frozen=True)
class GhostAttention(AnswerTuning):
    """Teaches a model to keep to an instruction over many turns.

    The examples are conversations that begin with a system turn, the instruction.

    **Settings**

    - `temperature`: of the answers that are learnt; 0 takes the likeliest.
    - `rank`: of the LoRA, where the model carries none yet; else its own adapter goes on.
    - `learning_rates`: those that are tried; the one with the best dev score is trained to the end.
    - `batch_size`: rows a step.
    - `prompt`: "task" (default) trains under the task's prompt, "bare" without its instruction.
    - `gates`: watch the answers while training, and go back to the last good state on collapse.
    """

    temperature: float = 0.0
    rank: int = 8
    learning_rates: tuple[float, ...] = (3e-4, 1e-3)
    batch_size: int = 4
    prompt: str = "task"
    gates: bool = True

    name: ClassVar[str] = "ghost-attention"
    card: ClassVar[Card] = Card(
        changes="an adapter, so that what was said at the beginning still holds turns later",
        needs="gradients, and conversations that begin with an instruction",
        pays_when="a persona or a rule is forgotten after a few turns",
        costs="an answer is generated for each conversation before anything trains",
        source="Touvron et al. 2023, arXiv:2307.09288, section 3.3",
    )

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise TechniqueError(
                f"temperature={self.temperature:g} is below 0", next_step="Take 0 or more."
            )

    def unmet_by_task(self, task: Task) -> str | None:
        """Why there is nothing to hold on to."""
        if any(instruction_of(e) for e in task.train):
            return None
        return "no conversation of the task begins with a system turn that should hold"

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Answer with the instruction everywhere, learn with it at the beginning."""
        check_needs(self, model)
        from luthier.training.adapter_fit import fit_adapter
        from luthier.training.fit import budget_tokens
        from luthier.training.objectives import LanguageModelLoss
        from luthier.training.starting_prompt import starting_model

        start = starting_model(model, task, style=self.prompt)
        tokens = budget_tokens(budget, model.backend)
        learnt, spent = self._answered(start, task.train, seed=seed)
        if not learnt:
            raise TechniqueError(
                "Not one answer ended by itself",
                next_step="Tune the model on good answers first: 'lora -> ghost-attention'.",
            )
        tuned = fit_adapter(
            model, replace(task, train=tuple(learnt)), self.plan(LanguageModelLoss()),
            budget=Budget(tokens=tokens - spent), seed=seed,
        )  # fmt: skip
        assert tuned.lineage is not None
        fit = tuned.lineage.fit
        record = replace(fit, spent_tokens=(fit.spent_tokens or 0) + spent)
        lineage = replace(tuned.lineage, fit=record, examples=task.example_hashes)
        return tuned.adapt(lineage=lineage)

    def _answered(
        self, model: Model, examples: Sequence[Example], *, seed: int
    ) -> tuple[list[Example], int]:
        """The examples with the model's own answers under the instruction as their targets."""
        held = [e for e in examples if instruction_of(e)]
        decoding = replace(model.adaptation.decoding, temperature=self.temperature, votes=1)
        answers = model.adapt(decoding=decoding).answer([repeated(e) for e in held], seed=seed)
        spent = sum(a.usage.computed_tokens for a in answers)
        learnt = [
            replace(e, target=a.text.strip(), rejected=None)
            for e, a in zip(held, answers, strict=True)
            if a.finish_reason == "stop" and a.text.strip()
        ]
        return learnt, spent


def instruction_of(example: Example) -> str:
    """What the system turn at the beginning of a conversation says; "" where there is none."""
    if not isinstance(example.input, Conversation) or not example.input.messages:
        return ""
    first = example.input.messages[0]
    return first.text.strip() if first.role == "system" else ""


def repeated(example: Example) -> Example:
    """The conversation with its instruction before every question."""
    assert isinstance(example.input, Conversation)
    instruction = instruction_of(example)
    turns = [
        Message("user", f"{instruction}\n{turn.text}") if turn.role == "user" else turn
        for turn in example.input.messages[1:]
    ]
    return replace(example, input=Conversation(tuple(turns)))
