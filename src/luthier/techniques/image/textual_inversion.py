"""Textual inversion: a new word for what some pictures show, the soft prompt of images.

Gal et al. 2022 (arXiv:2208.01618, section 4): v* = argmin_v E w(t) ‖ŷ(x_t, t, c(v)) − y‖² over the
word's P vectors v (P, H) alone, in the embeddings of the text encoder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from luthier.errors import TaskError
from luthier.models.model import Model
from luthier.records import Budget, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Card, Footprint, check_needs, settings_of
from luthier.techniques.image.from_pictures import FromPictures
from luthier.techniques.setting_checks import check_whole_numbers

if TYPE_CHECKING:
    import torch

    from luthier.training.denoising.denoising_trials import DenoisingTrials
    from luthier.training.rows import TrainRow

STARTS = ("shape", "object", "thing", "picture")


@dataclass(frozen=True)
class TextualInversion(FromPictures):
    """Learns the embeddings of one word from pictures whose captions hold it.

    **Settings**

    - `word`: the word that is learnt; None takes the last word that all captions share.
    - `tokens`: P, how many vectors it has.
    - `starts`: words to begin as; the one with the least loss is taken, the word itself included.
    - `learning_rates`: those that are tried, in units of the RMS of the text encoder's embeddings;
      the one with the best dev score is trained to the end.
    - `batch_size`: pictures a step.
    """

    word: str | None = None
    tokens: int = 4
    starts: tuple[str, ...] = STARTS
    learning_rates: tuple[float, ...] = (0.1, 1.0)
    batch_size: int = 8

    name: ClassVar[str] = "textual-inversion"
    family: ClassVar[str] = "soft prompt"
    footprint: ClassVar[Footprint] = Footprint(gradients=True, fit_speed=0.8)
    card: ClassVar[Card] = Card(
        changes="gives one word learnt vectors in the text encoder; all else stays",
        needs="gradients through the denoiser, and from some four pictures with captions",
        pays_when="the model can draw the thing and no words of its own bring it out",
        costs="P × H numbers; nothing at the time of drawing",
        source="Gal et al. 2022, arXiv:2208.01618",
    )

    def __post_init__(self) -> None:
        check_whole_numbers(self, tokens=1)

    def fit(self, model: Model, task: Task, *, budget: Budget, seed: int = 0) -> Model:
        """Train the vectors of the word; the base is not written to."""
        check_needs(self, model)
        import torch

        from luthier.images.learned_word import check_one_encoder, word_in_place
        from luthier.models.adaptation import VirtualTokens
        from luthier.training.denoising.fit_pictures import DenoisingPlan, fit_pictures, trials_over
        from luthier.training.fit import budget_tokens
        from luthier.training.parameters import SoftPromptParameters
        from luthier.training.starting_prompt import starting_model

        backend: Any = model.backend
        check_one_encoder(backend.pipeline)
        start = starting_model(model, task).adapt(soft_prompt=None)
        captions = [e.text for e in task.train if e.picture]
        word = self.word or shared_word(captions)
        tokens = budget_tokens(budget, backend)
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng())
            torch.manual_seed(seed)
            session = stack.enter_context(backend.session(start.adaptation))
            embeddings = session.pipeline.text_encoder.get_input_embeddings().weight.detach()
            scale = float(embeddings.float().pow(2).mean().sqrt())
            parameters = SoftPromptParameters(
                torch.zeros(self.tokens, embeddings.shape[1]).to(embeddings.device), bottleneck=None
            )
            begins = beginnings(session.pipeline, (*self.starts, word), self.tokens)
            stack.enter_context(word_in_place(session.pipeline, word, parameters.tokens))
            plan = DenoisingPlan(
                tokens,
                tuple(rate * scale for rate in self.learning_rates),
                self.batch_size,
                learns_words=True,
                empty=0.0,
            )
            trials = trials_over(
                session, parameters, plan, defaults=backend.painter, task=task, seed=seed
            )
            rows = trials.objective.rows(start, session, task.train, virtual_tokens=0)
            begin, spent = nearest_beginning(trials, parameters.tokens, begins, rows)
            plan = replace(plan, tokens=tokens - spent)
            result = fit_pictures(start, task, trials=trials, plan=plan, seed=seed)
            learnt = parameters.tokens.detach().cpu().float().unsqueeze(0)
        record = replace(
            result.record,
            spent_tokens=(result.record.spent_tokens or 0) + spent,
            settled={"word": word, "begins_as": begin, "virtual_tokens": self.tokens},
        )
        lineage = Lineage(
            self.name, settings_of(self), seed, record, model.lineage, task.example_hashes
        )
        return start.adapt(soft_prompt=VirtualTokens(learnt, "word", word=word), lineage=lineage)


def shared_word(captions: Sequence[str]) -> str:
    """The last word that all captions share; a plural counts as its word.

    TaskError where there is none.
    """
    texts = [re.findall(r"\w+", caption.lower()) for caption in captions]
    for word in reversed(texts[0] if texts else []):
        stem = re.sub(r"(?<=\w{3})(?<!s)s$", "", word)
        if len(stem) > 2 and all(re.search(rf"\b{stem}(e?s)?\b", " ".join(t)) for t in texts):
            return stem
    raise TaskError(
        "the captions of the training pictures share no word that could be learnt",
        next_step="Name it: textual-inversion(word='crescent').",
    )


def beginnings(pipeline: Any, words: Sequence[str], count: int) -> dict[str, torch.Tensor]:
    """For each word `count` vectors (P, H): those of its tokens, the last one repeated."""
    table = pipeline.text_encoder.get_input_embeddings().weight.detach()
    found = {}
    for word in dict.fromkeys(words):
        ids = pipeline.tokenizer(word, add_special_tokens=False).input_ids
        if ids:
            ids = (ids + ids[-1:] * count)[:count]
            found[word] = table[ids].clone().float()
    return found


def nearest_beginning(
    trials: DenoisingTrials, tokens: torch.nn.Parameter, begins: dict[str, torch.Tensor],
    rows: Sequence[TrainRow],
) -> tuple[str, int]:  # fmt: skip
    """Begin as the word under which the pictures are denoised best; its name, and the passes that
    took."""
    from luthier.training.denoising.denoising_trials import FIXED_DRAWS

    errors = {}
    for word, vectors in begins.items():
        tokens.data.copy_(vectors)
        errors[word] = trials.error_of(rows)
    best = min(errors, key=lambda word: errors[word])
    tokens.data.copy_(begins[best])
    return best, len(begins) * FIXED_DRAWS * len(rows)
