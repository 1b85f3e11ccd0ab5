"""Prompt search with a proposer: GEPA evolves the instruction; a fake model writes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from luthier.errors import TechniqueError
from luthier.models.adaptation import Adaptation
from luthier.models.backend import Generated, GenerateRequest, ModelFacts, ScoreRequest, ScoreResult
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.records import Budget
from luthier.task.task import Task
from luthier.techniques.prompt.few_shot import FewShot
from luthier.techniques.prompt.prompt_search import PromptSearch
from luthier.techniques.search.proposer import Proposer
from luthier.techniques.search.token_budget import TokenBudget
from tests.test_prompting import Biased, make_task

GOOD = "Beware of billing."


@dataclass(eq=False)
class Obedient(Biased):
    """Gives up its taste for one label when the instruction warns of it."""

    strength: float = 30.0

    def score(
        self,
        requests: list[ScoreRequest],
        adaptation: Adaptation,  # type: ignore[override]
    ) -> list[ScoreResult]:
        told = adaptation.prompt.instruction == GOOD
        if not told:
            return super().score(requests, adaptation)
        return super(Biased, self).score(requests, adaptation)


@pytest.fixture
def task() -> Task:
    return make_task()


@pytest.fixture
def open_writer(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeBackend], None]:
    def patch(backend: FakeBackend) -> None:
        opened = Model(backend)
        # luthier.models.load is a function of the package as well: the module is meant
        module = sys.modules["luthier.models.load"]
        monkeypatch.setattr(module, "load", lambda name, **_: opened)

    return patch


def shown(task: Task) -> Model:
    """The model with demonstrations, which it would follow were it not for its taste."""
    few = FewShot(shots=4, selection="knn", calibrate=False)
    return few.fit(Model(Obedient()), task.without_test(), budget=Budget(tokens=0))


def search(**changes: object) -> PromptSearch:
    plain = PromptSearch(
        candidates=2, rounds=1, parts=("format",), calibrate=False, proposer="fake-proposer"
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_a_good_writer_is_followed(
    task: Task, open_writer: Callable[[FakeBackend], None], capfd: pytest.CaptureFixture[str]
) -> None:
    read: list[str] = []

    def write(prompt: str) -> str:
        read.append(prompt)
        return f"I noticed that.\n```\n{GOOD}\n```"

    open_writer(FakeBackend(reply=write, name="proposer"))
    budget = Budget(tokens=400_000)
    fitted = search(rewrites=3).fit(shown(task), task.without_test(), budget=budget)
    assert fitted.adaptation.prompt.instruction == GOOD
    assert fitted.lineage is not None
    fit = fitted.lineage.fit
    assert 1 <= fit.settled["proposer_calls"] <= 3
    assert fit.settled["proposer_tokens"] > 0
    assert fit.spent_tokens is not None
    assert fit.spent_tokens <= 400_000
    assert any(row.instruction == GOOD for row in fit.history)
    assert "The right answer is" in read[0]
    assert task.instruction in read[0]
    assert capfd.readouterr().out == ""
    # the pool of demonstrations is whole again
    assert len(fitted.adaptation.prompt.demonstrations) == len(task.train)


def test_a_poor_writer_is_not(task: Task, open_writer: Callable[[FakeBackend], None]) -> None:
    open_writer(FakeBackend(reply=lambda _: "```\nSay anything.\n```", name="proposer"))
    fitted = search(rewrites=2).fit(shown(task), task.without_test(), budget=Budget(tokens=400_000))
    assert fitted.adaptation.prompt.instruction == task.instruction
    assert fitted.lineage is not None
    assert any("none did better" in note for note in fitted.lineage.fit.notes)


@pytest.mark.parametrize("tokens", [0, 5_000, 30_000])
def test_budget_holds_with_a_writer(
    tokens: int, task: Task, open_writer: Callable[[FakeBackend], None]
) -> None:
    open_writer(FakeBackend(reply=lambda _: f"```\n{GOOD}\n```", name="proposer"))
    fitted = search().fit(shown(task), task.without_test(), budget=Budget(tokens=tokens))
    assert fitted.lineage is not None
    assert (fitted.lineage.fit.spent_tokens or 0) <= tokens


def test_same_seed_same_instruction(task: Task, open_writer: Callable[[FakeBackend], None]) -> None:
    def run() -> tuple[str, object]:
        calls: list[str] = []

        def write(prompt: str) -> str:
            calls.append(prompt)
            return GOOD if len(calls) == 2 else f"```\nTry number {len(calls)}.\n```"

        open_writer(FakeBackend(reply=write, name="proposer"))
        fitted = search(rewrites=4).fit(
            shown(task), task.without_test(), budget=Budget(tokens=300_000)
        )
        assert fitted.lineage is not None
        return fitted.adaptation.prompt.instruction, (calls, fitted.lineage.fit.history)

    assert run() == run()


def test_without_gepa_the_message_says_what_to_install(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TechniqueError, match="gepa") as caught:
        search().fit(shown(task), task.without_test(), budget=Budget())
    assert "pip install" in str(caught.value)


def test_writer_writes_long_and_in_chat_where_the_model_prefers_it() -> None:
    seen: list[tuple[GenerateRequest, Adaptation]] = []

    class Recording(FakeBackend):
        def generate(  # type: ignore[override]
            self, requests: list[GenerateRequest], adaptation: Adaptation
        ) -> list[Generated]:
            seen.extend((r, adaptation) for r in requests)
            return super().generate(requests, adaptation)

    chatty = Recording(reply=lambda _: "line\nline", facts=ModelFacts(prefers_chat=True))
    proposer = Proposer(Model(chatty), seed=7)
    assert proposer("Improve this.")
    proposer([{"role": "user", "content": "And this."}])
    request, adaptation = seen[0]
    assert request.prompt.messages[0].content == "Improve this."
    assert adaptation.decoding.stop == ()
    assert adaptation.decoding.max_new_tokens > 500
    assert [r.seed for r, _ in seen] == [7, 8]
    assert proposer.calls == 2
    plain = Recording(reply="ok".__add__)
    Proposer(Model(plain), seed=0)("Improve this.")
    assert seen[-1][0].prompt.text == "Improve this."


def test_what_a_proposer_reads_and_writes_is_spent_from_the_budget() -> None:
    budget = TokenBudget(tokens=10_000)
    proposer = Proposer(Model(FakeBackend(reply=lambda _: "be brief")), seed=0, budget=budget)
    proposer("Improve this instruction.")
    proposer("Improve it once more.")
    assert budget.spent == proposer.tokens > 0
    assert 0 < budget.generated < budget.spent
    assert budget.left == 10_000 - proposer.tokens
