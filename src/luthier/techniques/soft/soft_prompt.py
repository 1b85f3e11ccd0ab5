"""Prompt tuning: learnt virtual tokens beside the text, over a frozen base.

Lester, Al-Rfou and Constant 2021 (arXiv:2104.08691): maximise log p(y | [P; x]) over the P virtual
tokens (P, H) alone (section 2). They start from demonstrations as in Lu et al. 2025
(arXiv:2507.04221). B batch, T tokens, H width, P prompt length, V votes.
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
from luthier.techniques.setting_checks import check_choices, check_whole_numbers

if TYPE_CHECKING:
    import torch

    from luthier.engine import Session
    from luthier.training.parameters import SoftPromptParameters
    from luthier.training.trainable import Trainable

Init = Literal["demonstrations", "labels", "text", "vocabulary"]
PLACEMENTS = ("before", "after")
MOST_NAMED = 16  # virtual tokens whose nearest words the record names
VOTE_SEEDS = 1000  # between the seeds of two votes
RATES = (0.3, 1.0)  # in units of the RMS of the embeddings, where a prompt begins as words
BATCH = 4  # rows a step, over a decoder that begins as words 16


@dataclass(frozen=True)
class SoftPrompt(Technique):
    """Trains virtual tokens that stand among the token embeddings of every request.

    **Settings** (what is None follows from `init`)

    - `tokens`: P, how many virtual tokens; 5 to 100 in the paper. By default as many as the
      demonstrations take, at most 512; 8 for the other starts, and 20 over an encoder–decoder.
    - `init`: where the virtual tokens begin. "demonstrations": the embeddings of one short example
      of each label; where these do not fit, or the model has a prompt already, "labels". "labels":
      those of the class labels. "text": those of the instruction. "vocabulary": those of sampled
      frequent tokens. By default demonstrations; labels, as in the paper, over an encoder–decoder
      or where `placement` is "after".
    - `placement`: "before" or "after" the input. Demonstrations stand before it. Other starts
      stand after it by default, where a step costs virtual tokens and answers only, for the input
      is computed once; over an encoder–decoder nothing can be kept, and they stand before it.
    - `bottleneck`: None trains the tokens alone; a number reparameterises them through a residual
      bottleneck of that width, which is dropped afterwards.
    - `votes`: V prompts are trained on V seeds side by side, on one budget, and vote in one forward
      pass; 1 by default.
    - `learning_rates`: those that are tried, in units of the RMS of the base's embeddings (a step
      of AdamW is absolute, and tables differ in scale by a factor of twenty from base to base). By
      default 0.03 for demonstrations, which have much to lose, 0.3 (the paper's number, in other
      units) and 1 for the other starts.
    - `batch_size`: rows a step. By default 4 where a step pays for the prompt as well, which is for
      demonstrations and over an encoder–decoder; 16 otherwise.
    - `prompt`: "bare" (default) trains without the instruction, so that requests are shorter;
      "task" trains under the task's own prompt.
    """

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
    footprint: ClassVar[Footprint] = Footprint(gradients=True, fit_speed=0.5)
    card: ClassVar[Card] = Card(
        changes="puts learnt vectors among the token embeddings; base and text stay",
        needs="gradients through the base, and from some tens of labelled examples",
        pays_when="the base has the skill and words do not bring it out; many tasks on one server",
        costs="P × H numbers a task; P more tokens a request, which a prefix cache makes free",
        source="Lester et al. 2021, arXiv:2104.08691; from demonstrations: arXiv:2507.04221; "
        "residual: arXiv:2305.03937",
    )

    def __post_init__(self) -> None:
        check_choices(
            self, optional=("init", "placement"), init=get_args(Init), placement=PLACEMENTS
        )
        if self.init == "demonstrations" and self.placement == "after":
            raise TechniqueError(
                "init='demonstrations' with placement='after' would show examples after the input",
                next_step="Leave placement out, or take another init.",
                choices=[i for i in get_args(Init) if i != "demonstrations"],
            )
        check_whole_numbers(self, optional=("tokens",), tokens=1, votes=1)

    def passes(self, model: Model, task: Task, tokens: int) -> float | None:
        """Passes over the training examples that the tokens buy over an encoder–decoder, roughly;
        over a decoder that depends on what can be kept."""
        from luthier.training.fit import STEPS_WORTH_SEARCHING
        from luthier.training.passes import RateSearch, planned_passes
        from luthier.training.trainable import FROZEN_BASE

        if not model.backend.facts.encoder_decoder:
            return None
        share, extra = tokens // self.votes, float(self.tokens or 20)
        rates = self.learning_rates or RATES
        search = RateSearch(len(rates), self.batch_size or BATCH, STEPS_WORTH_SEARCHING)
        return planned_passes(
            model, task, share, cost_factor=FROZEN_BASE, style=self.prompt, extra=extra,
            search=search,
        )  # fmt: skip

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the virtual tokens; the base is not written to."""
        check_needs(self, model)
        import torch

        from luthier.models.adaptation import VirtualTokens
        from luthier.training.fit import TrainingSettings, budget_tokens, fit
        from luthier.training.objectives import LanguageModelLoss
        from luthier.training.parameters import SoftPromptParameters
        from luthier.training.starting_prompt import starting_model

        backend = model.backend
        start = starting_model(model, task, style=self.prompt).adapt(soft_prompt=None)
        tokens = budget_tokens(budget, backend)
        with backend.session(start.adaptation) as session, torch.random.fork_rng():
            scale = float(session.embeddings.weight.detach().float().pow(2).mean().sqrt())
            chosen = self._start(session, model, start, task, seed)
            session = replace(session, head=(*session.head, *chosen.head))
            trials = []
            for _ in chosen.learning_rates:
                for vote, tensor in enumerate(chosen.tensors):
                    torch.manual_seed(seed + VOTE_SEEDS * vote)
                    trials.append(SoftPromptParameters(tensor, bottleneck=self.bottleneck))
            result = fit(
                start,
                task,
                trainable=trials_of(session, trials, chosen.placement),
                objective=LanguageModelLoss(),
                settings=TrainingSettings(
                    tokens,
                    tuple(rate * scale for rate in chosen.learning_rates),
                    self.batch_size or chosen.batch_size,
                    trials_per_rate=self.votes,
                    virtual_tokens=len(chosen.tensors[0]),
                    exclude=chosen.shown,
                ),
                seed=seed,
            )
            stacked = torch.cat([trials[k].soft().detach().cpu() for k in result.winners])
            nearest = nearest_words(session, stacked[0])
        record = replace(
            result.record,
            trainable_parameters=stacked.numel(),
            settled={
                "init": chosen.init,
                "virtual_tokens": int(stacked.shape[1]),
                "nearest_vocabulary": nearest[:MOST_NAMED],
            },
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        soft = VirtualTokens(stacked, chosen.placement, chosen.head)
        return start.adapt(soft_prompt=soft, lineage=lineage)

    def _start(
        self, session: Session, model: Model, start: Model, task: Task, seed: int
    ) -> SoftPromptStart:
        """The settings that were left out, and a start for each vote. `start` is the model with its
        prompt for training."""
        import torch

        from luthier.models.prompt import Prompt
        from luthier.training.prompt_tuning.initialization import (
            from_demonstrations,
            from_words,
            most_demonstration_tokens,
        )

        fresh = model.adaptation.prompt == Prompt() and model.adaptation.knowledge is None
        both_ways = session.encoder_decoder
        by_labels = both_ways or self.placement == "after"
        wanted = self.init or ("labels" if by_labels else "demonstrations")
        if wanted == "demonstrations" and fresh:
            most = most_demonstration_tokens(session, self.tokens)
            found = [
                from_demonstrations(session, start, task, most, seed + VOTE_SEEDS * vote)
                for vote in range(self.votes)
            ]
            shown = [demonstrations for demonstrations in found if demonstrations]
            if len(shown) == self.votes:
                # Votes are stacked: the longer ones lose their beginning, after a template's head.
                length, kept = min(len(s.start) for s in shown), len(shown[0].head)
                return SoftPromptStart(
                    "demonstrations",
                    "before",
                    self.learning_rates or (0.03,),
                    [torch.cat([s.start[:kept], s.start[kept - length :]]) for s in shown],
                    BATCH,
                    frozenset(e.id for s in shown for e in s.examples),
                    shown[0].head,
                )
        init = "labels" if wanted == "demonstrations" else wanted
        tensors = [
            from_words(
                session, task, self.tokens or (20 if both_ways else 8), init, seed, vote=vote
            )
            for vote in range(self.votes)
        ]
        rates = self.learning_rates or RATES
        place = self.placement or ("before" if both_ways else "after")
        size = BATCH if both_ways else 16
        return SoftPromptStart(init, place, rates, tensors, size, frozenset())


@dataclass(frozen=True)
class SoftPromptStart:
    """Where soft prompts begin: `tensors` holds (P, H) for each vote, `shown` the ids of the
    examples that stand in them, `head` is as in `VirtualTokens`."""

    init: str
    placement: Literal["before", "after"]
    learning_rates: tuple[float, ...]
    tensors: list[torch.Tensor]
    batch_size: int
    shown: frozenset[str]
    head: tuple[int, ...] = ()


def trials_of(
    session: Session, trials: Sequence[SoftPromptParameters], placement: str
) -> Trainable:
    """What the loop trains.

    Over a decoder all trials run in one pass. Over an encoder–decoder or a base whose layers know
    no tree mask, under a prefix adapter, and with LUTHIER_ENGINE=plain, each trial and row runs in
    full.
    """
    from luthier.engine import uses_prefix_trees
    from luthier.training.prompt_tuning.trials import SoftTrials
    from luthier.training.sequential_trials import SequentialTrials
    from luthier.training.trainable import FROZEN_BASE

    if not uses_prefix_trees(session) or session.prefix_cache(1) is not None:
        return SequentialTrials(session, trials, cost_factor=FROZEN_BASE, placement=placement)
    return SoftTrials(session, trials, placement=placement)


def nearest_words(session: Session, tokens: torch.Tensor) -> list[str]:
    """For each virtual token (P, H) the vocabulary item of highest cosine similarity, as text
    (arXiv:2104.08691, section 7)."""
    import torch

    table = torch.nn.functional.normalize(session.embeddings.weight.detach().float(), dim=-1)
    unit = torch.nn.functional.normalize(tokens.to(table.device).float(), dim=-1)
    ids = (unit @ table.T).argmax(-1).tolist()
    return [str(session.tokenizer.decode([i])) for i in ids]
