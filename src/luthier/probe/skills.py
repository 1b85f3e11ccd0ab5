"""What can the base do without knowledge? (part 5)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from luthier.context import report_progress
from luthier.errors import CapabilityError
from luthier.models.adaptation import Decoding
from luthier.models.answering import render_for
from luthier.models.backend import ScoreRequest
from luthier.models.label_reading import parse_label
from luthier.models.model import Model
from luthier.models.prompt import Prompt, PromptFormat
from luthier.probe.format_spread import FormatSpread, format_spread
from luthier.probe.language_losses import LanguageLoss, language_losses
from luthier.probe.probe_request import ProbeRequest
from luthier.probe.skill_checks import SkillCheck, SkillItem, skill_checks
from luthier.probe.task_sample import drawn
from luthier.records import Capability, Example, Score
from luthier.scoring.resolve import scorer_for
from luthier.scoring.statistics.intervals import wilson
from luthier.training.starting_prompt import starting_model

ITEMS = 24  # of each check
LONG_TOKENS = 500  # of the long text, or a half of the context
WRITTEN_TOKENS = 32
FORM = PromptFormat(input_name="Input", target_name="Output")
SPREAD_EXAMPLES, FEW_SPREAD_EXAMPLES = 32, 8
LONG_ANSWER = 32  # tokens, above which fewer examples are answered in every form
_SAMPLE = "The code of badofe is 1234. " * 10  # sixty words


@dataclass(frozen=True, slots=True)
class Skill:
    """One small check: its score with interval over `items`, and what guessing would reach.

    `written`: the answer was written freely and not chosen by its log-probability.
    """

    name: str
    score: Score
    chance: float | None = None
    items: int = 0
    written: bool = False

    @property
    def shown(self) -> bool:
        """Whether the base is clearly better than guessing."""
        return (self.score.low or 0.0) > (self.chance or 0.0) + 1e-9


@dataclass(frozen=True, slots=True)
class SkillsProfile:
    """What was measured. `lacks`: why a figure is None.

    `languages` are ordered from the one that costs least; `formats` is the spread over equivalent
    prompts of the task, None without a task.
    """

    lacks: str = ""
    skills: tuple[Skill, ...] = ()
    languages: tuple[LanguageLoss, ...] = ()
    formats: FormatSpread | None = None

    def sentences(self) -> list[str]:
        """What was found, in words."""
        from luthier.probe.skill_words import skill_sentences

        return skill_sentences(self)


def profile_skills(model: Model, request: ProbeRequest) -> SkillsProfile:
    """The profile of a base; with a task, also how much the form of its prompt matters."""
    bare = model.adapt(prompt=Prompt(), decoding=Decoding(), head=None, knowledge=None, tools=None)
    checks = skill_checks(ITEMS, seed=request.seed, long_words=_long_words(bare))
    steps = len(checks) + 2
    skills: list[Skill] = []
    for place, check in enumerate(checks):
        report_progress(place, steps, f"skill: {check.name}")
        skills += _checked(bare, check, seed=request.seed)
    found, lacks = SkillsProfile(skills=tuple(skills)), []
    report_progress(len(checks), steps, "languages")
    if Capability.LOGPROBS in model.capabilities:
        try:
            found = replace(found, languages=language_losses(bare, seed=request.seed))
        except CapabilityError as error:
            lacks.append(f"Languages: {error.problem}.")
    else:
        lacks.append(
            "The base gives no log-probabilities: languages are not measured, and answers are "
            "written rather than chosen."
        )
    if request.task is not None:
        spread = _spread(model, request)
        found = replace(found, formats=spread)
        if spread is None:
            lacks.append("The form of the prompt was not varied: there are no dev examples.")
    return replace(found, lacks=" ".join(lacks))


def _spread(model: Model, request: ProbeRequest) -> FormatSpread | None:
    assert request.task is not None
    asked = model if model.adaptation.filled else starting_model(model, request.task)
    decoding = asked.adaptation.decoding
    long = not decoding.labels and decoding.max_new_tokens > LONG_ANSWER
    few = long or model.backend.facts.remote
    count = min(request.limits.examples, FEW_SPREAD_EXAMPLES if few else SPREAD_EXAMPLES)
    scorer = scorer_for(request.task)
    if scorer.needs_likelihood and Capability.LOGPROBS not in model.capabilities:
        return None
    examples = drawn(request.task.dev, count, request.seed)
    return format_spread(asked, examples, scorer, seed=request.seed)


def _long_words(model: Model) -> int:
    """The words of the long text, so that it takes at most half of the context."""
    context = model.backend.facts.context_length
    most = LONG_TOKENS if context is None else min(LONG_TOKENS, context // 2)
    tokens = max(1, model.backend.count_tokens(_SAMPLE))
    return int(most * len(_SAMPLE.split()) / tokens)


def _checked(model: Model, check: SkillCheck, *, seed: int) -> list[Skill]:
    """The skill of a check, and of each place in a long text where there are places."""
    prompt = Prompt(instruction=check.instruction, demonstrations=check.shown, format=FORM)
    asked = model.adapt(prompt=prompt, decoding=Decoding(max_new_tokens=WRITTEN_TOKENS))
    choosing = all(i.choices for i in check.items) and Capability.LOGPROBS in model.capabilities
    right = _chosen(asked, check.items) if choosing else _written(asked, check.items, seed=seed)
    skills = [_skill(check.name, right, check.chance, written=not choosing)]
    for place in dict.fromkeys(item.place for item in check.items if item.place):
        own = [r for r, item in zip(right, check.items, strict=True) if item.place == place]
        name = f"{check.name}, {place}"
        skills.append(_skill(name, own, check.chance, written=not choosing))
    return skills


def _skill(name: str, right: Sequence[bool], chance: float, *, written: bool) -> Skill:
    low, high = wilson(sum(right), len(right))
    score = Score("accuracy", sum(right) / len(right), low, high)
    return Skill(name, score, chance, len(right), written)


def _examples(items: Sequence[SkillItem]) -> list[Example]:
    return [Example(str(i), item.question, item.answer) for i, item in enumerate(items)]


def _chosen(model: Model, items: Sequence[SkillItem]) -> list[bool]:
    """Whether the right one of the choices is the likeliest after each question."""
    prompts = render_for(model, _examples(items))
    requests = [
        ScoreRequest(p, tuple(p.answer_prefix + choice for choice in item.choices))
        for p, item in zip(prompts, items, strict=True)
    ]
    scored = model.backend.score(requests, model.adaptation)
    return [
        item.choices[max(range(len(item.choices)), key=result.logprobs.__getitem__)] == item.answer
        for item, result in zip(items, scored, strict=True)
    ]


def _written(model: Model, items: Sequence[SkillItem], *, seed: int) -> list[bool]:
    """Whether what is written names the right choice, or is the answer to the letter."""
    answers = model.answer(_examples(items), seed=seed)
    found = []
    for item, answer in zip(items, answers, strict=True):
        text: str | None = answer.text.strip()
        if item.choices:
            text = parse_label(answer.text, item.choices, FORM)
        found.append(text == item.answer)
    return found
