"""Prompt tuning: learnt virtual tokens beside the text, over a frozen base.

Lester, Al-Rfou and Constant 2021 (arXiv:2104.08691): maximise log p(y | [P; x]) over the P virtual
tokens (P, H) alone; begun from demonstrations as in Lu et al. 2025 (arXiv:2507.04221). B batch,
T tokens, H width, P prompt length, V votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, Technique, check_needs, settings_of

if TYPE_CHECKING:
    import torch

    from luthier.engine import Session
    from luthier.training.parameters import SoftPromptParameters, Trainable

Init = Literal["demonstrations", "labels", "text", "vocabulary"]
PLACEMENTS = ("before", "after")
MOST_NAMED = 16  # virtual tokens whose nearest words the record names


@dataclass(frozen=True)
class SoftPrompt(Technique):
    """`init`: where the virtual tokens begin: "demonstrations" (the embeddings of one short
    example of each label; where these do not fit, or the model has a prompt already, "labels"),
    "labels" (of the class labels), "text" (of the instruction), "vocabulary" (of sampled frequent
    tokens). What is None follows from it:

    - `init`: demonstrations, unless `placement` is "after".
    - `tokens` P: as many as the demonstrations take, at most 512; 8 for the others.
    - `placement`: demonstrations stand before the input. Others stand after it, where a step costs
      virtual tokens and answers only, for the input is computed once.
    - `learning_rates`, in units of the RMS of the base's embeddings (a step of AdamW is absolute,
      and tables differ in scale by a factor of twenty from base to base): 0.03 for
      demonstrations, which have much to lose, 0.3 and 1 for the others.
    - `batch_size`: 4 for demonstrations, for a step pays for the prompt as well; 16 otherwise.

    `bottleneck` None trains the tokens alone, a number reparameterises them through a residual
    bottleneck that is dropped afterwards. `votes` V prompts are trained on V seeds side by side, on
    one budget, and vote in one forward pass."""

    tokens: int | None = None
    init: Init | None = None
    placement: Literal["before", "after"] | None = None
    bottleneck: int | None = None
    votes: int = 1
    learning_rates: tuple[float, ...] | None = None
    batch_size: int | None = None
    prompt: str = "bare"

    name: ClassVar[str] = "soft-prompt"
    family: ClassVar[str] = "soft prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    footprint: ClassVar[Footprint] = Footprint(gradients=True)
    card: ClassVar[Card] = Card(
        changes="puts learnt vectors among the token embeddings; base and text stay",
        needs="gradients through the base, and from some tens of labelled examples",
        pays_when="the base has the skill and words do not bring it out; many tasks on one server",
        costs="P × H numbers a task; P more tokens a request, which a prefix cache makes free",
        source="Lester et al. 2021, arXiv:2104.08691; from demonstrations: arXiv:2507.04221; "
        "residual: arXiv:2305.03937",
    )

    def __post_init__(self) -> None:
        choices = {
            "init": get_args(Init),
            "placement": PLACEMENTS,
        }
        for field, allowed in choices.items():
            value = getattr(self, field)
            if value is not None and value not in allowed:
                raise TechniqueError(f"{field}={value!r} is unknown", choices=allowed)
        if self.init == "demonstrations" and self.placement == "after":
            raise TechniqueError(
                "init='demonstrations' with placement='after' would show examples after the input",
                next_step="Leave placement out, or take another init.",
                choices=[i for i in get_args(Init) if i != "demonstrations"],
            )
        for field in ("tokens", "votes"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise TechniqueError(
                    f"{field}={getattr(self, field)} is too small", next_step="Take 1 or more."
                )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the virtual tokens; the base is not written to."""
        check_needs(self, model)
        import torch

        from luthier.models.adaptation import VirtualTokens
        from luthier.training.fit import Settings, fit
        from luthier.training.parameters import SoftPromptParameters
        from luthier.training.preparation import budget_tokens, starting, style_of

        backend = model.backend
        ready = starting(model, task, style_of(self.prompt)).adapt(soft_prompt=None)
        tokens = budget_tokens(budget, backend)
        with backend.session(ready.adaptation) as session, torch.random.fork_rng():
            scale = float(session.embeddings.weight.detach().float().pow(2).mean().sqrt())
            begun = self._begun(session, model, ready, task, seed)
            trial_parameter_sets = []
            for _ in begun.rates:
                for vote, start in enumerate(begun.starts):
                    torch.manual_seed(seed + 1000 * vote)
                    trial_parameter_sets.append(
                        SoftPromptParameters(start, bottleneck=self.bottleneck)
                    )
            fitted = fit(
                ready,
                task,
                session=session,
                trainable=trials_of(session, trial_parameter_sets, begun.placement),
                settings=Settings(
                    tuple(rate * scale for rate in begun.rates),
                    self.batch_size or begun.batch_size,
                    members=self.votes,
                ),
                tokens=tokens,
                seed=seed,
                room=len(begun.starts[0]),
                leave_out=begun.shown,
            )
            stacked = torch.cat(
                [trial_parameter_sets[k].soft().detach().cpu() for k in fitted.winners]
            )
            nearest = nearest_words(session, stacked[0])
        record = replace(
            fitted.record,
            trainable_parameters=stacked.numel(),
            settled={
                "init": begun.init,
                "virtual_tokens": int(stacked.shape[1]),
                "nearest_vocabulary": nearest[:MOST_NAMED],
            },
        )
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return ready.adapt(soft_prompt=VirtualTokens(stacked, begun.placement), lineage=lineage)

    def _begun(
        self, session: Session, model: Model, ready: Model, task: Task, seed: int
    ) -> SoftPromptStart:
        """The settings that were left out, and a start for each vote."""
        from luthier.models.prompt import Prompt
        from luthier.training.prompt_tuning.initialization import (
            from_demonstrations,
            from_words,
            room_for_demonstrations,
        )

        fresh = model.adaptation.prompt == Prompt() and model.adaptation.knowledge is None
        wanted = self.init or ("labels" if self.placement == "after" else "demonstrations")
        if wanted == "demonstrations" and fresh:
            most = room_for_demonstrations(session, self.tokens)
            shown = [
                s
                for vote in range(self.votes)
                if (s := from_demonstrations(session, ready, task, most, seed + 1000 * vote))
            ]
            if len(shown) == self.votes:
                # Votes are stacked: the longer ones lose their beginning.
                length = min(len(s.start) for s in shown)
                return SoftPromptStart(
                    "demonstrations",
                    "before",
                    self.learning_rates or (0.03,),
                    [s.start[-length:] for s in shown],
                    4,
                    frozenset(e.id for s in shown for e in s.examples),
                )
        init = "labels" if wanted == "demonstrations" else wanted
        starts = [
            from_words(session, task, self.tokens or 8, init, seed + vote)
            for vote in range(self.votes)
        ]
        rates = self.learning_rates or (0.3, 1.0)
        return SoftPromptStart(init, self.placement or "after", rates, starts, 16, frozenset())


@dataclass(frozen=True)
class SoftPromptStart:
    """`starts` (P, H), one for each vote; `shown`: ids of the examples that stand in them."""

    init: str
    placement: Literal["before", "after"]
    rates: tuple[float, ...]
    starts: list[torch.Tensor]
    batch_size: int
    shown: frozenset[str]


def trials_of(
    session: Session, trial_parameter_sets: Sequence[SoftPromptParameters], placement: str
) -> Trainable:
    """Over a decoder all trials in one pass; over an encoder–decoder or a base whose layers know no
    tree mask, under a prefix adapter and with LUTHIER_ENGINE=plain each trial and row in full."""
    from luthier.engine import uses_prefix_trees
    from luthier.training.parameters import FROZEN_BASE
    from luthier.training.prompt_tuning.trials import SoftTrials
    from luthier.training.sequential_trials import SequentialTrials

    if not uses_prefix_trees(session) or session.prefix_cache(1) is not None:
        return SequentialTrials(
            session, trial_parameter_sets, factor=FROZEN_BASE, placement=placement
        )
    return SoftTrials(session, trial_parameter_sets, placement=placement)


def nearest_words(session: Session, tokens: torch.Tensor) -> list[str]:
    """For each virtual token (P, H) the vocabulary item of highest cosine, as text (section 7
    there)."""
    import torch

    table = torch.nn.functional.normalize(session.embeddings.weight.detach().float(), dim=-1)
    unit = torch.nn.functional.normalize(tokens.to(table.device).float(), dim=-1)
    ids = (unit @ table.T).argmax(-1).tolist()
    return [str(session.tokenizer.decode([i])) for i in ids]
