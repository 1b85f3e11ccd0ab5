"""Two or more answers to each prompt, in pairs that somebody can judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from pathlib import Path

from luthier.content import Conversation, Input, Message
from luthier.context import report_progress
from luthier.errors import FeedbackError
from luthier.feedback.exchange.conversation_turns import Turns, clean, turns_of
from luthier.feedback.exchange.file_rows import BadRow, read_rows
from luthier.ledger.opinions import FeedbackItem, ItemAnswer, digest_of, make_item
from luthier.models.answering import render_for
from luthier.models.backend import GenerateRequest
from luthier.models.model import Model
from luthier.records import Example

PROMPTS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """One prompt of a file: its turns, and a passage to answer from."""

    turns: Turns
    context: str | None = None

    @property
    def example(self) -> Example:
        """What a model is asked."""
        return Example(digest_of([self.turns, self.context]), asked(self.turns), "", None,
                       self.context)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SampledModel:
    """A model that answers, under the name by which its answers are known afterwards."""

    name: str
    model: Model
    technique: str | None = None


def asked(turns: Turns) -> Input:
    """The input of an example: a text where it is one question, else a conversation."""
    if len(turns) == 1 and turns[0][0] == "user":
        return turns[0][1]
    return Conversation(tuple(Message(role, text) for role, text in turns))  # type: ignore[arg-type]


def read_prompts(path: Path) -> tuple[list[AskedPrompt], list[BadRow], str]:
    """The prompts of a file: JSON or JSON Lines with a `prompt` (or `input`) a row, else one prompt
    a line. FeedbackError where there is none."""
    bad: list[BadRow] = []
    place = "line"
    if path.suffix in (".txt", ".md"):
        try:
            lines = path.read_bytes().decode("utf-8-sig", "replace").splitlines()
        except OSError as error:
            raise FeedbackError(
                f"{path} cannot be read: {error.strerror or error}", next_step="Give another file."
            ) from error
        prompts = [AskedPrompt((("user", clean(line)),)) for line in lines if line.strip()]
    else:
        rows, bad, place = read_rows(path)
        prompts = []
        for number, row in rows:
            name = next((n for n in ("prompt", "input", "messages", "question") if n in row), None)
            try:
                if name is None:
                    raise FeedbackError("there is no 'prompt'")
                turns = turns_of(row[name], name=name)
                if not turns[-1][1].strip():
                    raise FeedbackError("the prompt is empty")
                context = row.get("context")
                prompts.append(AskedPrompt(turns, context if isinstance(context, str) else None))
            except FeedbackError as error:
                bad.append(BadRow(number, error.problem))
    if not prompts:
        first = f": {place} {bad[0].place}: {bad[0].reason}" if bad else ""
        raise FeedbackError(f"{path} has no prompt{first}", next_step="Give one prompt a line.")
    return list(dict.fromkeys(prompts)), bad, place


def sample_answers(
    model: Model, prompts: Sequence[AskedPrompt], *, answers: int, temperature: float, seed: int = 0
) -> list[list[str]]:
    """So many sampled answers for each prompt, as they were generated, repeats among them."""
    decoding = replace(model.adaptation.decoding, temperature=temperature, votes=1)
    found: list[list[str]] = []
    for start in range(0, len(prompts), PROMPTS_AT_ONCE):
        report_progress(start, len(prompts), f"answered {start} of {len(prompts)}")
        some = prompts[start : start + PROMPTS_AT_ONCE]
        rendered = render_for(model, [p.example for p in some])
        requests = [GenerateRequest(r, seed, answers, decoding=decoding) for r in rendered]
        for generated in model.backend.generate(requests, model.adaptation):
            texts = (generated.text, *(other.text for other in generated.others))
            found.append([clean(text.strip()) for text in texts])
    return found


def sample_items(
    models: Sequence[SampledModel], prompts: Sequence[AskedPrompt], *, answers: int = 2,
    temperature: float = 1.0, seed: int = 0, batch: str = "",
) -> tuple[list[FeedbackItem], int]:  # fmt: skip
    """Pairs of different answers, and how many prompts got no two of them.

    One model: its answers two by two. Several: the answers of each against those of the next, so
    that opinions say which model is better.
    """
    if answers < (2 if len(models) == 1 else 1):
        raise FeedbackError(
            f"{answers} answer a prompt makes no pair", next_step="Ask for two or more."
        )
    if not temperature > 0 and answers > 1:
        raise FeedbackError(
            f"At temperature {temperature:g} all answers of a model are alike",
            next_step="Give a temperature above 0; 1 is usual.",
        )
    given = [
        [
            [ItemAnswer("", text, m.name, m.technique) for text in texts]
            for texts in sample_answers(
                m.model, prompts, answers=answers, temperature=temperature, seed=seed
            )
        ]
        for m in models
    ]
    items, without = [], 0
    for prompt, *of_models in zip(prompts, *given, strict=True):
        pairs = _pairs(of_models)
        without += not pairs
        items += [
            make_item(prompt.turns, pair, context=prompt.context, batch=batch) for pair in pairs
        ]
    return items, without


def _pairs(of_models: Sequence[Sequence[ItemAnswer]]) -> list[tuple[ItemAnswer, ItemAnswer]]:
    if len(of_models) == 1:
        distinct = list({a.text: a for a in of_models[0] if a.text}.values())
        couples = list(zip_longest(distinct[::2], distinct[1::2]))
        pairs = [(a, b if b is not None else distinct[0]) for a, b in couples]
    else:
        pairs = [
            (a, b) for one, other in pairwise(of_models) for a, b in zip(one, other, strict=True)
        ]
    return [(a, b) for a, b in pairs if a.text != b.text and a.text and b.text]
