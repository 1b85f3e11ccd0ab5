"""Prompt tuning: learnt virtual tokens beside the text, over a frozen base.

Lester, Al-Rfou and Constant 2021 (arXiv:2104.08691): maximise log p(y | [P; x]) over the P virtual
tokens (P, H) alone. B batch, T tokens, H width, P prompt length, V votes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.errors import TechniqueError
from luthier.models.model import Model
from luthier.records import Budget, Capability, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, check_needs, settings_of

if TYPE_CHECKING:
    import torch

    from luthier.models.local.session import Session
    from luthier.training.trainable import SoftPromptParameters, Trainable

Init = Literal["labels", "text", "vocabulary"]


@dataclass(frozen=True)
class SoftPrompt:
    """`tokens` P. `init`: "labels" (embeddings of the class labels), "text" (of the instruction),
    "vocabulary" (of sampled frequent tokens). `bottleneck` None trains the tokens alone, a number
    reparameterises them through a residual bottleneck that is dropped afterwards. `votes` V prompts
    are trained on V seeds side by side, on one budget, and vote in one forward pass. With placement
    "after" a step costs virtual tokens and answers only, for the input is computed once.
    `learning_rates` are in units of the RMS of the base's embeddings: a step of AdamW is absolute,
    and tables differ in scale by a factor of twenty from base to base."""

    tokens: int = 8
    init: Init = "labels"
    placement: Literal["before", "after"] = "after"
    bottleneck: int | None = None
    votes: int = 1
    learning_rates: tuple[float, ...] = (0.3, 1.0)
    batch_size: int = 16
    prompt: str = "bare"

    name: ClassVar[str] = "soft-prompt"
    family: ClassVar[str] = "soft prompt"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.GRADIENTS})
    trained: ClassVar[bool] = True
    card: ClassVar[Card] = Card(
        changes="puts learnt vectors among the token embeddings; base and text stay",
        needs="gradients through the base, and from some tens of labelled examples",
        pays_when="the base has the skill and words do not bring it out; many tasks on one server",
        costs="a few kilobytes a task; P more tokens a request, which a prefix cache makes free",
        source="Lester et al. 2021, arXiv:2104.08691; residual: arXiv:2305.03937",
    )

    def __post_init__(self) -> None:
        choices = {
            "init": ("labels", "text", "vocabulary"),
            "placement": ("before", "after"),
        }
        for field, allowed in choices.items():
            value = getattr(self, field)
            if value not in allowed:
                raise TechniqueError(f"{field}={value!r} is unknown", choices=allowed)
        for field in ("tokens", "votes"):
            if getattr(self, field) < 1:
                raise TechniqueError(
                    f"{field}={getattr(self, field)} is too small", next_step="Take 1 or more."
                )

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the virtual tokens; the base is not written to."""
        check_needs(self, model)
        import torch

        from luthier.models.adaptation import VirtualTokens
        from luthier.training.fit import Settings, fit
        from luthier.training.start import budget_tokens, local_backend, starting, style_of
        from luthier.training.trainable import SoftPromptParameters

        backend = local_backend(model, self.name)
        ready = starting(model, task, style_of(self.prompt)).adapt(soft_prompt=None)
        tokens = budget_tokens(budget, backend)
        with backend.session(ready.adaptation) as session, torch.random.fork_rng():
            scale = float(session.embeddings.weight.detach().float().pow(2).mean().sqrt())
            holders = []
            for _ in self.learning_rates:
                for vote in range(self.votes):
                    torch.manual_seed(seed + 1000 * vote)
                    start = initial_tokens(session, task, self.tokens, self.init, seed + vote)
                    holders.append(SoftPromptParameters(start, bottleneck=self.bottleneck))
            fitted = fit(
                ready,
                task,
                session=session,
                trainable=trials_of(session, holders, self.placement),
                settings=Settings(
                    tuple(rate * scale for rate in self.learning_rates),
                    self.batch_size,
                    members=self.votes,
                ),
                tokens=tokens,
                seed=seed,
                room=self.tokens,
            )
            stacked = torch.cat([holders[k].soft().detach().cpu() for k in fitted.winners])
            nearest = nearest_words(session, stacked[0])
        record = replace(
            fitted.record,
            trainable_parameters=stacked.numel(),
            chosen={**fitted.record.chosen, "init": self.init, "nearest_vocabulary": nearest},
        )
        lineage = Lineage(self.name, settings_of(self), seed, record, model.lineage)
        return ready.adapt(soft_prompt=VirtualTokens(stacked, self.placement), lineage=lineage)


def trials_of(
    session: Session, holders: Sequence[SoftPromptParameters], placement: str
) -> Trainable:
    """Over a decoder all trials in one pass; over an encoder–decoder, under a prefix adapter and
    with LUTHIER_ENGINE=plain each trial and row in full."""
    from luthier.training.plain import PlainTrials
    from luthier.training.soft.trials import SoftTrials
    from luthier.training.trainable import FROZEN_BASE

    plain = os.environ.get("LUTHIER_ENGINE") == "plain"
    if plain or session.encoder_decoder or session.prefix_cache(1) is not None:
        return PlainTrials(session, holders, factor=FROZEN_BASE, placement=placement)
    return SoftTrials(session, holders, placement=placement)


def initial_tokens(
    session: Session, task: Task, tokens: int, init: Init, seed: int
) -> torch.Tensor:
    """(P, H) from the base's own embeddings (Lester et al. 2021, section 3.2).

    "labels" cycles through the tokens of the labels; a task without labels falls back to "text",
    and one without text to "vocabulary", drawn from the 5,000 first (most frequent) tokens.
    """
    import torch

    words = ", ".join(label.replace("_", " ").replace("-", " ") for label in task.labels)
    text = task.instruction
    if init == "labels" and words:
        source = words
    elif init != "vocabulary" and text:
        source = f"{text} {words}"
    else:
        source = ""
    table = session.embeddings.weight.detach().float()
    if source:
        ids = list(session.tokenizer(source, add_special_tokens=False).input_ids)
        ids = (ids * (tokens // max(len(ids), 1) + 1))[:tokens]
    else:
        generator = torch.Generator().manual_seed(seed)
        most = min(5000, table.shape[0])
        ids = torch.randint(0, most, (tokens,), generator=generator).tolist()
    rows = torch.tensor(ids, device=table.device)
    # Through the layer, not the table: some families scale their embeddings in it.
    with torch.no_grad():
        start: torch.Tensor = session.embeddings(rows).float()
    return start


def nearest_words(session: Session, tokens: torch.Tensor) -> list[str]:
    """For each virtual token (P, H) the vocabulary item of highest cosine, as text (section 7
    there)."""
    import torch

    table = torch.nn.functional.normalize(session.embeddings.weight.detach().float(), dim=-1)
    unit = torch.nn.functional.normalize(tokens.to(table.device).float(), dim=-1)
    ids = (unit @ table.T).argmax(-1).tolist()
    return [str(session.tokenizer.decode([i])) for i in ids]
