"""The skills profile: items that are what they say, planted skills that are found, and none that
are not there."""

from __future__ import annotations

import math
import random
import re
from itertools import pairwise

import pytest

from luthier.models.backend import TokenLogprobs
from luthier.probe.format_spread import equivalent_prompts, format_spread
from luthier.probe.language_losses import SENTENCES, language_losses
from luthier.probe.probe_request import ProbeLimits, ProbeRequest
from luthier.probe.skill_checks import skill_checks
from luthier.probe.skills import profile_skills
from luthier.records import Capability
from luthier.scoring.resolve import scorer_for
from luthier.serialization import dumps, loads
from luthier.task.task import Task
from luthier.training.starting_prompt import starting_model
from tests.probed_models import sampling, scoring

NAMES = {"format", "copy", "induction", "order", "arithmetic", "negation", "long context"}


def blocks(prompt):
    """The last input."""
    return prompt.rpartition("Input: ")[2].rpartition("\nOutput:")[0]


def solves(prompt):
    """The answer to any item, read out of its question as a person would."""
    asked = blocks(prompt)
    found = re.fullmatch(r"(\w+) has number (\d+)|number (\d+) is (\w+)", asked)
    if found:
        name, number = found[1] or found[4], found[2] or found[3]
        return f"[{name}|{number}]"
    if "What is the code of" in asked:
        name = asked.rpartition("What is the code of ")[2].rstrip("?")
        return re.search(rf"The code of {name} is (\d+)", asked)[1]
    if re.fullmatch(r"\d+, \d+, \d+", asked):
        return str(max(map(int, asked.split(", "))))
    if re.fullmatch(r"\d+ [+-] \d+", asked):
        return str(eval(asked))
    if asked.startswith("The "):
        about = asked.rpartition(" ")[2].rstrip("?")
        return "no" if f"not {about}" in asked else "yes"
    words = asked.split()
    if "dax" in prompt or "wug" in prompt:
        return "dax" if words[0] == words[1] else "wug"
    return asked


def skills_of(model, **keys):
    found = profile_skills(model, ProbeRequest(**keys))
    return found, {skill.name: skill for skill in found.skills}


@pytest.mark.parametrize("seed", range(3))
def test_every_item_can_be_solved_and_its_answer_is_among_its_choices(seed):
    checks = skill_checks(30, seed=seed, long_words=120)
    assert {check.name for check in checks} == NAMES
    for check in checks:
        assert len({item.question for item in check.items}) == 30
        shown = {d.input for d in check.shown}
        prefix = "".join(f"Input: {d.input}\nOutput: {d.target}\n\n" for d in check.shown)
        for item in check.items:
            assert item.question not in shown
            assert solves(f"{prefix}Input: {item.question}\nOutput:") == item.answer
            assert not item.choices or item.choices.count(item.answer) == 1
    assert skill_checks(5, seed=seed, long_words=60) == skill_checks(5, seed=seed, long_words=60)


def test_the_places_of_answers_are_not_told_by_their_choices():
    for check in skill_checks(120, seed=0, long_words=60):
        if not check.items[0].choices or len(check.items[0].choices) == 2:
            continue
        first = sum(item.choices[0] == item.answer for item in check.items) / 120
        assert first == pytest.approx(check.chance, abs=0.15)


def test_answers_of_two_kinds_are_about_equally_common():
    for check in skill_checks(100, seed=0, long_words=60):
        answers = [item.answer for item in check.items]
        if len(set(answers)) == 2:
            assert 35 <= answers.count(answers[0]) <= 65
            assert len({d.target for d in check.shown}) == 2


def test_who_can_do_everything_is_seen_to_with_and_without_log_probabilities():
    chooses = scoring(lambda prompt, c: 5.0 * (c == solves(prompt)))
    chooses.backend.reply = solves
    writes = sampling(lambda prompt, rng: solves(prompt))
    for model in (chooses, writes):
        found, skills = skills_of(model)
        assert set(skills) >= NAMES
        assert all(skill.score.value == 1.0 and skill.shown for skill in skills.values())
    assert not skills["order"].written or skills["order"].score.value == 1.0
    assert skills["copy"].written
    assert "no log-probabilities" in found.lacks
    assert {"long context, beginning", "long context, middle", "long context, end"} <= set(skills)


def test_who_guesses_is_not_credited():
    shown = []
    for seed in range(4):

        def guess(prompt, label, seed=seed):
            return random.Random(f"{seed}{prompt}{label}").random()

        _, skills = skills_of(scoring(guess), seed=seed)
        shown += [s.shown for name, s in skills.items() if "," not in name and not s.written]
    assert sum(shown) <= 2  # of twenty, each a false alarm in 2.5 of a hundred


def test_a_place_that_is_lost_is_found():
    def reads_the_end(prompt, c):
        text = blocks(prompt)
        return 5.0 * (c == solves(prompt) and c in text[len(text) // 2 :])

    _, skills = skills_of(scoring(reads_the_end))
    assert skills["long context, end"].score.value == 1.0
    assert skills["long context, beginning"].score.value < 0.7


def letters(language):
    return set("".join(SENTENCES[language]))


def test_a_language_that_is_known_costs_less_than_its_letters_shuffled(monkeypatch):
    """A base that knows every pair of letters in the Polish sentences, and letters elsewhere."""
    pairs = {a + b for text in SENTENCES["Polish"] for a, b in pairwise(text)}

    def text_logprobs(texts, adaptation):
        found = []
        for text in texts:
            cost = [0.5 if a + b in pairs else 4.0 for a, b in pairwise(text)]
            found.append(TokenLogprobs(tuple(text), (None, *(-c for c in cost))))
        return found

    model = scoring(lambda p, c: 0.0)
    monkeypatch.setattr(model.backend, "text_logprobs", text_logprobs)
    losses = {loss.language: loss for loss in language_losses(model)}
    assert [name for name, loss in losses.items() if loss.handled] == ["Polish"]
    assert losses["Polish"].times_english < 0.5
    assert next(iter(losses)) == "Polish"


def test_the_sentences_are_the_same_in_every_language():
    counts = {name: len(texts) for name, texts in SENTENCES.items()}
    assert set(counts.values()) == {5}
    assert len(counts) == 14
    for name, texts in SENTENCES.items():
        assert len(set(texts)) == 5, name
        assert all(text == text.strip() for text in texts)


def flavours():
    rows = [{"input": f"item {i} is {'sweet' if i % 2 else 'sour'}",
             "target": "sugar" if i % 2 else "lemon"} for i in range(60)]  # fmt: skip
    return Task.from_examples(
        {"train": rows[:20], "dev": rows[20:50], "test": rows[50:]}, input="input",
        target="target", name="flavours", instruction="What is in it?", kind="classify",
        labels=["lemon", "sugar"],
    )  # fmt: skip


def test_prompts_that_mean_the_same_all_read_differently():
    task = flavours()
    model = starting_model(scoring(lambda p, c: 0.0), task)
    prompts = equivalent_prompts(model, task.dev[0])
    assert len(prompts) == 20
    assert prompts[0] == model.adaptation.prompt
    assert all("What is in it?" in prompt.instruction for prompt in prompts)
    assert all(prompt.labels == ("lemon", "sugar") for prompt in prompts)


def test_a_base_that_reads_one_form_only_is_found_out():
    def only_arrows(prompt, label):
        right = ("sweet" in prompt.rpartition("item")[2]) == (label == "sugar")
        arrow = "->" in prompt[-40:]
        return 3.0 * (right if arrow else label == "lemon")

    found, _ = skills_of(scoring(only_arrows), task=flavours(), limits=ProbeLimits(examples=30))
    formats = found.formats
    assert formats.scores[0].score == 1.0
    assert formats.scores[-1].score == pytest.approx(0.5)
    assert formats.spread == pytest.approx(0.5)
    assert formats.changing == pytest.approx(0.5)
    assert any("from 0.50 to 1.00" in s for s in found.sentences())


def test_a_base_that_does_not_mind_the_form_is_steady():
    task = flavours()
    model = starting_model(scoring(lambda p, c: 3.0 * (c == "lemon")), task)
    formats = format_spread(model, task.dev, scorer_for(task))
    assert (formats.spread, formats.changing) == (0.0, 0.0)
    assert format_spread(model, (), scorer_for(task)) is None


def test_the_fake_has_a_profile_and_it_is_kept_whole():
    from luthier.models.fake import FakeBackend
    from luthier.models.model import Model

    found, skills = skills_of(Model(FakeBackend()), task=flavours())
    assert skills["copy"].items == 24
    assert found.languages
    assert all(math.isfinite(loss.nats_per_character) for loss in found.languages)
    assert loads(type(found), dumps(found)) == found
    assert Capability.LOGPROBS in FakeBackend().capabilities
