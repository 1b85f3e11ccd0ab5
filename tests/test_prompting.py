"""Zero-shot, few-shot and prompt search on the fake model: the contract, and what they must do."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from luthier.content import Usage
from luthier.context import WorkContext, working
from luthier.errors import TechniqueError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import ModelFacts, ScoreRequest, ScoreResult
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt, PromptFormat
from luthier.records import Budget, Example, Kind
from luthier.scoring import evaluate
from luthier.task.spec import TaskSpec
from luthier.task.task import Task
from luthier.techniques.base import Technique
from luthier.techniques.prompt.few_shot import FewShot
from luthier.techniques.prompt.prompt_search import PromptSearch
from luthier.techniques.prompt.zero_shot import ZeroShot
from luthier.testing import check_technique

WORDS = {
    "billing": [
        "charged",
        "invoice",
        "paid",
        "card",
        "refund",
        "twice",
        "fee",
        "bill",
        "price",
        "euros",
    ],
    "delivery": [
        "parcel",
        "courier",
        "late",
        "door",
        "tracking",
        "arrived",
        "lost",
        "box",
        "street",
        "van",
    ],
    "technical_fault": [
        "crashes",
        "screen",
        "login",
        "button",
        "error",
        "frozen",
        "update",
        "loads",
        "reset",
        "blank",
    ],
}
FILLER = [
    "my",
    "the",
    "a",
    "please",
    "why",
    "is",
    "it",
    "again",
    "today",
    "since",
    "and",
    "you",
    "hello",
    "i",
    "have",
    "been",
]


def examples(count: int, *, seed: int = 0, noise: int = 4) -> tuple[Example, ...]:
    rng = random.Random(seed)
    made = []
    for i in range(count):
        label = sorted(WORDS)[i % 3]
        words = rng.sample(WORDS[label], 2) + rng.sample(FILLER, noise)
        rng.shuffle(words)
        made.append(Example(f"{seed}-{i}", " ".join(words), label))
    return tuple(made)


def make_task(of_spec: Mapping[str, object] | None = None, **changes: object) -> Task:
    spec = TaskSpec(
        name="tiny",
        instruction="Say what the message is about.",
        kind=Kind.CLASSIFY,
        scorer="accuracy",
        labels=tuple(sorted(WORDS)),
        label_descriptions=tuple((label, f"about {label}") for label in sorted(WORDS)),
        input_name="Message",
        target_name="Topic",
    )
    task = Task(
        replace(spec, **(of_spec or {})),  # type: ignore[arg-type]
        train=examples(60, seed=1),
        dev=examples(36, seed=2),
        _test=examples(36, seed=3),
    )
    return replace(task, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task()


@pytest.fixture
def model() -> Model:
    return Model(FakeBackend())


@dataclass(eq=False)
class Biased(FakeBackend):
    """The fake model with a taste for one label, whatever the input: what calibration is for.

    It counts what it is asked, and computes a beginning shared inside one call only once.
    """

    favourite: str = "billing"
    strength: float = 6.0
    asked: list[str] = field(default_factory=list)

    def score(self, requests: Sequence[ScoreRequest], adaptation: Adaptation) -> list[ScoreResult]:
        self.asked.extend(r.prompt.text for r in requests)
        results = super().score(requests, adaptation)
        out = []
        for place, (request, result) in enumerate(zip(requests, results, strict=True)):
            logs = [
                value + self.strength * (c.strip() == self.favourite)
                for value, c in zip(result.logprobs, request.continuations, strict=True)
            ]
            total = float(np.logaddexp.reduce(logs))
            fresh = request.prompt.text
            if place:
                before = requests[0].prompt.text
                same = next(
                    (i for i, (a, b) in enumerate(zip(fresh, before, strict=False)) if a != b), 0
                )
                fresh = fresh[same:]
            tokens = self.count_tokens(fresh)
            usage = Usage(self.count_tokens(request.prompt.text), 0, tokens, 1)
            out.append(replace(result, logprobs=tuple(v - total for v in logs), usage=usage))
        return out


def accuracy(model: Model, task: Task) -> float:
    value = evaluate(model, task, split="test").score.value
    assert value is not None
    return value


TECHNIQUES: list[Technique] = [
    ZeroShot(),
    ZeroShot(calibrate=True),
    ZeroShot(calibrate="auto"),
    FewShot(),
    FewShot(shots=6, selection="random", calibrate="contextual", sets=2, orders=2),
    FewShot(shots=4, selection="knn", calibrate="contextual"),
    FewShot(selection="diverse", calibrate=False),
    PromptSearch(candidates=4),
    PromptSearch(parts=("format", "instruction"), rounds=2, candidates=3, calibrate="batch"),
]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=str)
def test_contract(technique: Technique, model: Model, task: Task) -> None:
    check_technique(technique, model=model, task=task, budget=Budget(tokens=120_000))


def test_demonstrations_help(model: Model, task: Task) -> None:
    zero = ZeroShot().fit(model, task.without_test(), budget=Budget())
    few = FewShot().fit(model, task.without_test(), budget=Budget())
    assert accuracy(few, task) > accuracy(zero, task) + 0.2
    assert few.lineage is not None
    assert few.lineage.fit.dev_score > 0.6
    assert few.adaptation.prompt.demonstrations


@pytest.mark.parametrize("calibrate", ["contextual", "batch", "prior"])
@pytest.mark.parametrize("selection", ["knn", "random"])
def test_calibration_takes_a_taste_away(task: Task, selection: str, calibrate: str) -> None:
    model = Model(Biased(strength=20.0))
    plain = FewShot(shots=6, selection=selection, calibrate=False, orders=0)  # type: ignore[arg-type]
    raw = plain.fit(model, task.without_test(), budget=Budget())
    mended = replace(plain, calibrate=calibrate).fit(  # type: ignore[arg-type]
        model, task.without_test(), budget=Budget()
    )
    assert accuracy(raw, task) < 0.45  # the favourite, a third of the examples
    assert accuracy(mended, task) > accuracy(raw, task) + 0.15
    bias = dict(mended.adaptation.decoding.label_bias)
    assert max(bias, key=lambda label: bias[label]) == "billing"


def test_calibrated_zero_shot_needs_no_example(task: Task) -> None:
    empty = replace(task, train=(), dev=())
    backend = Biased()
    fitted = ZeroShot(calibrate=True).fit(Model(backend), empty, budget=Budget())
    assert dict(fitted.adaptation.decoding.label_bias).keys() == set(task.labels)
    assert len(backend.asked) == 3


def test_auto_leaves_alone_what_needs_no_calibration(task: Task, model: Model) -> None:
    fitted = FewShot(shots=4, selection="knn").fit(model, task.without_test(), budget=Budget())
    assert fitted.lineage is not None
    forced = FewShot(shots=4, selection="knn", calibrate=False).fit(
        model, task.without_test(), budget=Budget()
    )
    assert accuracy(fitted, task) >= accuracy(forced, task) - 0.06


@pytest.mark.parametrize("tokens", [0, 50, 2_000, 20_000, 60_000])
@pytest.mark.parametrize(
    "technique", [FewShot(), PromptSearch(), ZeroShot(calibrate="auto")], ids=str
)
def test_never_spends_more_than_the_budget(technique: Technique, tokens: int, task: Task) -> None:
    for backend in (FakeBackend(), Biased()):
        locked = task.without_test()
        fitted = technique.fit(Model(backend), locked, budget=Budget(tokens=tokens))
        assert fitted.lineage is not None
        assert fitted.lineage.fit.spent_tokens is not None
        assert fitted.lineage.fit.spent_tokens <= tokens
        if tokens == 0 and technique.name != "zero-shot":
            assert any("want of budget" in note for note in fitted.lineage.fit.notes)


@pytest.mark.parametrize("technique", [FewShot(), PromptSearch()], ids=str)
def test_where_requests_are_long_a_few_examples_choose_demonstrations(
    technique: Technique,
) -> None:
    """With many labels one request takes hundreds of tokens: the budget pays for some dozens."""
    labels = tuple(f"intent_{number:02}" for number in range(40))

    def asked(split: str, each: int) -> tuple[Example, ...]:
        return tuple(
            Example(f"{split}-{number}-{n}", f"word{number} thing{number} {split}{n}", label)
            for n in range(each)
            for number, label in enumerate(labels)
        )

    task = make_task(
        {"labels": labels, "label_descriptions": ()},
        train=asked("a", 4),
        dev=asked("b", 4),
        _test=asked("c", 1),
    )
    fitted = technique.fit(Model(Biased()), task.without_test(), budget=Budget(tokens=10_000))
    assert fitted.adaptation.prompt.demonstrations
    assert fitted.lineage is not None
    assert max((row.examples or 0) for row in fitted.lineage.fit.history) >= 16
    assert accuracy(fitted, task) > 0.8


def test_an_adapted_model_keeps_its_prompt_where_nothing_can_be_asked(task: Task) -> None:
    started = ZeroShot().fit(Model(FakeBackend()), task.without_test(), budget=Budget())
    fitted = PromptSearch().fit(started, task.without_test(), budget=Budget(tokens=0))
    assert fitted.adaptation.prompt == started.adaptation.prompt


def test_without_a_budget_the_search_is_bounded(task: Task) -> None:
    fitted = PromptSearch().fit(Model(FakeBackend()), task.without_test(), budget=Budget())
    assert fitted.lineage is not None
    assert 3 <= len(fitted.lineage.fit.history) <= 40


def test_minutes_become_tokens_or_a_deadline(task: Task) -> None:
    class Timed(FakeBackend):
        def tokens_per_second(self) -> float:
            return 100.0

    fitted = FewShot().fit(Model(Timed()), task.without_test(), budget=Budget(minutes=2))
    assert fitted.lineage is not None
    assert 0 < (fitted.lineage.fit.spent_tokens or 0) <= 12_000
    soon = FewShot().fit(Model(FakeBackend()), task.without_test(), budget=Budget(minutes=1e-9))
    assert soon.lineage is not None
    assert soon.lineage.fit.spent_tokens == 0


def test_search_spends_the_budget_on_the_better_half(task: Task) -> None:
    fitted = FewShot().fit(Model(FakeBackend()), task.without_test(), budget=Budget())
    assert fitted.lineage is not None
    rows = fitted.lineage.fit.history
    seen: dict[str, int] = {}
    for row in rows:
        seen[row.candidate] = max(seen.get(row.candidate, 0), row.examples or 0)
    assert min(seen.values()) < max(seen.values()) == len(task.dev)
    assert fitted.lineage.fit.settled["candidate"] in seen
    spent = [row.spent_tokens for row in rows]
    assert spent == sorted(spent)
    assert spent[-1] == fitted.lineage.fit.spent_tokens


def test_shots_follow_the_context(task: Task) -> None:
    facts = ModelFacts(context_length=90, architecture="fake")
    short = Model(FakeBackend(facts=facts))
    fitted = FewShot().fit(short, task.without_test(), budget=Budget())
    prompt = fitted.adaptation.prompt
    assert (prompt.shots or len(prompt.demonstrations)) <= 8
    asked = FewShot(shots=50, selection="random").fit(short, task.without_test(), budget=Budget())
    assert asked.lineage is not None
    assert any("50 shots do not fit" in note for note in asked.lineage.fit.notes)
    tiny = Model(FakeBackend(facts=replace(facts, context_length=8)))
    with pytest.raises(TechniqueError, match="No demonstration fits"):
        FewShot().fit(tiny, task.without_test(), budget=Budget())


def test_a_prompt_too_long_gives_up_descriptions_then_the_list(task: Task) -> None:
    wordy = tuple((label, "words " * 30) for label in task.labels)
    long = replace(task, spec=replace(task.spec, label_descriptions=wordy))
    model = Model(FakeBackend(facts=ModelFacts(context_length=40)))
    fitted = ZeroShot().fit(model, long.without_test(), budget=Budget())
    assert fitted.adaptation.prompt.label_descriptions == ()
    assert fitted.adaptation.prompt.format.list_labels
    model = Model(FakeBackend(facts=ModelFacts(context_length=16)))
    fitted = ZeroShot().fit(model, long.without_test(), budget=Budget())
    assert not fitted.adaptation.prompt.format.list_labels
    assert fitted.lineage is not None
    assert len(fitted.lineage.fit.notes) == 2


def test_builds_on_the_prompt_the_model_brings(task: Task) -> None:
    written = Prompt(instruction="Sort it.", format=PromptFormat(input_name="Text"))
    model = Model(FakeBackend(), Adaptation(prompt=written))
    zero = ZeroShot().fit(model, task.without_test(), budget=Budget())
    assert zero.adaptation.prompt.instruction == "Sort it."
    assert zero.adaptation.prompt.labels == task.labels
    few = FewShot(shots=4, selection="knn").fit(zero, task.without_test(), budget=Budget())
    assert few.adaptation.prompt.instruction == "Sort it."
    assert few.adaptation.prompt.format.input_name == "Text"
    assert few.lineage is not None
    assert few.lineage.parent == zero.lineage
    again = ZeroShot().fit(few, task.without_test(), budget=Budget())
    assert again.adaptation.prompt == few.adaptation.prompt
    other = replace(task, spec=replace(task.spec, labels=("up", "down")))
    assert ZeroShot().fit(few, other, budget=Budget()).adaptation.prompt == other.base_prompt()


def test_other_slots_stay(task: Task) -> None:
    class Tokens:
        shape = (1, 4, 8)

    soft = object.__new__(type("Soft", (), {"tensor": Tokens(), "placement": "before"}))
    model = Model(FakeBackend(), Adaptation(soft_prompt=soft))  # type: ignore[arg-type]
    for technique in (ZeroShot(), FewShot(), PromptSearch(candidates=2)):
        fitted = technique.fit(model, task.without_test(), budget=Budget(tokens=30_000))
        assert fitted.adaptation.soft_prompt is soft


def test_an_interrupted_search_goes_on(task: Task, tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    whole = FewShot().fit(Model(Biased()), task.without_test(), budget=Budget(tokens=60_000))

    class Killed(Biased):
        def score(self, requests, adaptation):  # type: ignore[no-untyped-def]
            if len(self.asked) > 150:
                raise KeyboardInterrupt
            return super().score(requests, adaptation)

    with working(WorkContext(folder=folder)), pytest.raises(KeyboardInterrupt):
        FewShot().fit(Model(Killed()), task.without_test(), budget=Budget(tokens=60_000))
    with next(folder.glob("*.jsonl")).open("a", encoding="utf-8") as file:
        file.write('{"key": "torn')
    second = Biased()
    with working(WorkContext(folder=folder)):
        resumed = FewShot().fit(Model(second), task.without_test(), budget=Budget(tokens=60_000))
    fresh = Biased()
    FewShot().fit(Model(fresh), task.without_test(), budget=Budget(tokens=60_000))
    assert 0 < len(second.asked) <= len(fresh.asked) - 140
    assert resumed.adaptation.prompt == whole.adaptation.prompt
    assert resumed.adaptation.decoding == whole.adaptation.decoding
    assert resumed.lineage is not None
    assert whole.lineage is not None
    assert resumed.lineage.fit.history == whole.lineage.fit.history
    # and once it is finished, nothing at all is asked again
    third = Biased()
    with working(WorkContext(folder=folder)):
        FewShot().fit(Model(third), task.without_test(), budget=Budget(tokens=60_000))
    assert third.asked == []


def test_progress_is_told(task: Task) -> None:
    heard: list[tuple[float, float, str]] = []
    with working(WorkContext(progress=lambda done, total, said: heard.append((done, total, said)))):
        FewShot().fit(Model(FakeBackend()), task.without_test(), budget=Budget())
    assert len(heard) > 5
    assert all(0 < done <= total for done, total, _ in heard)
    assert all("examples" in said for _, _, said in heard)


def test_search_finds_the_format_that_works(task: Task) -> None:
    """The fake model reads one line for each field: with a bar between them it sees no label."""
    wrong = replace(task.base_prompt(), format=PromptFormat(field_separator=" | "))
    model = Model(FakeBackend(), Adaptation(prompt=wrong, decoding=task.base_decoding()))
    search = PromptSearch(candidates=16, rounds=3)
    fitted = search.fit(model, task.without_test(), budget=Budget(tokens=400_000))
    start = ZeroShot().fit(model, task.without_test(), budget=Budget())
    assert accuracy(fitted, task) > accuracy(start, task) + 0.2
    assert fitted.lineage is not None
    parts = {row.part for row in fitted.lineage.fit.history}
    assert {"start", "demonstrations", "format", "instruction"} <= parts


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FewShot(shots=0), "shots=0"),
        (lambda: FewShot(shots=True), "shots=True"),
        (lambda: FewShot(selection="nearest"), "Choices: auto, random, knn, diverse"),
        (lambda: FewShot(calibrate="contextal"), "Did you mean 'contextual'"),
        (lambda: ZeroShot(calibrate="yes"), "calibrate='yes'"),
        (lambda: PromptSearch(rounds=0), "rounds=0"),
        (lambda: PromptSearch(parts=("formats",)), "Did you mean 'format'"),
        (lambda: PromptSearch(parts=()), "no part"),
    ],
)
def test_bad_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(TechniqueError) as caught:
        make()  # type: ignore[operator]
    assert message in str(caught.value)


def test_bias_is_left_behind_when_the_prompt_changes(task: Task, model: Model) -> None:
    biased = Decoding(labels=task.labels, label_bias=(("billing", 100.0),))
    brought = model.adapt(prompt=task.base_prompt(), decoding=biased)
    kept = ZeroShot().fit(brought, task.without_test(), budget=Budget())
    assert kept.adaptation.decoding.label_bias == biased.label_bias
    few = FewShot(shots=4, selection="knn", calibrate=False).fit(
        brought, task.without_test(), budget=Budget()
    )
    assert few.adaptation.decoding.label_bias == ()
    assert all(isinstance(d, Demonstration) for d in few.adaptation.prompt.demonstrations)
