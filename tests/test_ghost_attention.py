"""Ghost attention: the instruction stands everywhere while answering, and once while learning."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import lru_cache

import pytest

from luthier.content import Conversation, Message
from luthier.errors import TechniqueError
from luthier.models.adaptation import Decoding
from luthier.records import Budget, Example, Kind
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.techniques.preference.ghost_attention import (
    GhostAttention,
    instruction_of,
    repeated,
)
from luthier.techniques.weights.full_fine_tuning import FullFineTuning
from tests import tiny

SPEC = TaskSpec(
    name="persona", instruction="Answer.", kind=Kind.CHAT, scorer="chrf", max_new_tokens=12
)
RULES = {"say yes": "yes", "say no": "no"}


def conversation(i: int, rng: random.Random, turns: int = 2) -> Example:
    rule = rng.choice(sorted(RULES))
    said = [Message("system", rule)]
    for k in range(turns):
        said.append(Message("user", f"q {rng.choice('abcdef')}{i}{k}"))
        if k < turns - 1:
            said.append(Message("assistant", RULES[rule]))
    return Example(str(i), Conversation(tuple(said)), RULES[rule])


def make_conversations(count: int = 60) -> Task:
    rng = random.Random(0)
    rows = [conversation(i, rng) for i in range(count)]
    return Task(SPEC, tuple(rows[:40]), tuple(rows[40:50]), tuple(rows[50:]))


@lru_cache
def polite_model():
    """A tiny model that does what an instruction says which stands before the question."""
    rng = random.Random(1)
    rows = [
        replace(repeated(e), target=e.target)
        for e in (conversation(i, rng, turns=rng.choice((1, 2))) for i in range(220))
    ]
    task = Task(SPEC, tuple(rows[:180]), tuple(rows[180:200]), tuple(rows[200:]))
    tuned = FullFineTuning(learning_rates=(3e-3,), batch_size=8, prompt="task").fit(
        tiny.model("llama"), task.without_test(), budget=Budget(tokens=250_000)
    )
    return tuned.adapt(decoding=Decoding(max_new_tokens=12))


def test_the_instruction_stands_before_every_question():
    example = conversation(0, random.Random(0))
    rule = instruction_of(example)
    turns = repeated(example).input.messages
    assert [t.role for t in turns] == ["user", "assistant", "user"]
    assert all(t.text.startswith(rule) for t in turns if t.role == "user")
    assert instruction_of(Example("", "text", "")) == ""
    rows = [(f"q{i}", f"a{i}") for i in range(30)]
    plain = Task.from_examples(rows, kind="chat", instruction="x")
    assert "no conversation" in GhostAttention().unmet_by_task(plain)
    assert GhostAttention().unmet_by_task(make_conversations()) is None
    with pytest.raises(TechniqueError, match="below 0"):
        GhostAttention(temperature=-1.0)


@pytest.mark.slow
def test_what_was_said_at_the_beginning_holds_turns_later():
    model, task = polite_model(), make_conversations()

    def held(some):
        answers = some.answer(task.test)
        pairs = zip(task.test, answers, strict=True)
        return sum(e.target in a.text for e, a in pairs) / len(answers)

    tuned = GhostAttention(learning_rates=(3e-3,)).fit(
        model, task.without_test(), budget=Budget(tokens=80_000)
    )
    assert held(tuned) >= max(0.8, held(model))
    assert tuned.lineage.fit.spent_tokens <= 80_000
    assert tuned.lineage.parent == model.lineage
