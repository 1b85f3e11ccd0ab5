"""The technique `tools`, the bundled shop, and call match."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import luthier
from luthier.compare.request import default_techniques
from luthier.content import ToolCall, ToolSignature, ToolStep
from luthier.errors import TechniqueError, UserError
from luthier.models.adaptation import ToolUse
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.models.tool_loop import open_tools
from luthier.records import Budget, Capability, SampleScore
from luthier.report import amounts, render_html
from luthier.report.sections.tool_traces import call_sentences, tool_traces
from luthier.scoring.evaluation import evaluate
from luthier.scoring.scorers.tool_calls import call_match, possible_call, same_calls
from luthier.task.task import Task
from luthier.techniques.rag.rag import RAG
from luthier.techniques.spelling import parse_technique
from luthier.techniques.tools.tool_calling import ToolCalling
from luthier.techniques.tools.traces import steps_by_question, trace_examples
from luthier.tools.named_addresses import check_named
from tests.report_example import example_comparison

BUDGET = Budget(tokens=2_000_000)


@pytest.fixture(scope="module")
def shop() -> Task:
    return Task.load("shop")


def perfect(task: Task) -> Model:
    """A scripted model that makes the calls that the task names, and then says the result."""
    known = {e.text: e for split in (task.train, task.dev, task.test) for e in split}

    def reply(prompt: str):
        asked = prompt.rpartition("Question: ")[2]
        question, _, rest = asked.partition("\n")
        example = known[question]
        if not example.calls:
            return example.target
        if "Result: " in rest:
            return rest.rpartition("Result: ")[2].partition("\nAnswer:")[0].splitlines()[-1]
        return example.calls

    return Model(FakeBackend(reply, capabilities=frozenset({Capability.TEXT})))


def test_a_perfect_caller_reaches_everything_so_that_the_loop_loses_nothing(shop) -> None:
    model = ToolCalling(shots=0).fit(perfect(shop), shop.without_test(), budget=BUDGET)
    result = evaluate(model, shop)
    assert result.score.value == 1.0
    matched = next(score for score in result.secondary if score.metric == "call-match")
    assert matched.value == 1.0
    assert Counter(len(s.steps) for s in result.sample_scores).keys() == {0, 1}
    assert all(step.seconds is not None for s in result.sample_scores for step in s.steps)


def test_the_shop_has_what_it_says(shop) -> None:
    every = (*shop.train, *shop.dev, *shop.test)
    assert len(every) >= 120
    assert len(shop.test) >= 50
    kinds = Counter(e.calls[0].name if e.calls else "none" for e in every)
    assert {"sql", "calculator", "days_between", "lookup", "none"} == set(kinds)
    assert min(kinds.values()) >= 10
    assert default_techniques(shop)[-3:] == ("tools", "few-shot -> tools", "lora -> tools")
    names = {s.name for s in open_tools(ToolUse((), shop.tools)).tools}
    assert {"sql", "calculator", "lookup", "now"} <= names


def test_what_is_shown_is_settled_on_dev_with_solved_examples(shop) -> None:
    seen = []

    def reply(prompt: str):
        seen.append(prompt)
        return "x"

    fake = FakeBackend(reply, capabilities=frozenset({Capability.TEXT}))
    model = ToolCalling(shots=2).fit(Model(fake), shop.without_test(), budget=BUDGET)
    use = model.adaptation.tools
    assert use.addresses == shop.tools
    assert model.lineage.fit.settled["shots"] == 2
    assert any('lookup({"item": ' in prompt and "Result: " in prompt for prompt in seen)
    assert any("Tools:\n" in prompt for prompt in seen)
    with pytest.raises(TechniqueError, match="no tool 'fly'"):
        ToolCalling(names=("fly",)).fit(Model(fake), shop.without_test(), budget=BUDGET)
    with pytest.raises(UserError, match="no tools"):
        ToolCalling(tools=("fly:me",)).fit(Model(fake), shop.without_test(), budget=BUDGET)


def test_few_shot_before_tools_shows_its_examples_with_their_calls(shop) -> None:
    fake = FakeBackend(lambda _: "x", capabilities=frozenset({Capability.TEXT}))
    recipe = parse_technique("few-shot(shots=4, selection=random, calibrate=none) -> tools")
    model = recipe.fit(Model(fake), shop.without_test(), budget=BUDGET)
    shown = model.adaptation.prompt.demonstrations
    assert len(shown) == 4
    known = {e.text: e.calls for e in shop.train}
    assert [tuple(s.call for s in d.steps) for d in shown] == [known[d.input] for d in shown]


def test_what_is_trained_before_tools_learns_calls_and_answers(shop) -> None:
    model = Model(FakeBackend())
    start, task = ToolCalling().before(model, shop.without_test())
    assert start.adaptation.tools.listed is False
    targets = {e.id: e.target for e in task.train}
    first = next(e for e in shop.train if e.calls)
    call = targets[f"{first.id}-call"]
    assert call == first.calls[0].text
    assert json.loads(call.partition("(")[2].removesuffix(")")) == dict(first.calls[0].arguments)
    assert targets[f"{first.id}-answer"] == first.target
    plain = next(e for e in shop.train if e.calls == ())
    assert targets[plain.id] == plain.target


def test_an_example_whose_calls_fail_or_are_unknown_teaches_nothing(shop) -> None:
    box = open_tools(ToolUse((), ("calculator",)))
    good = replace(shop.train[0], calls=(ToolCall("calculator", {"expression": "1 + 1"}),))
    bad = replace(shop.train[1], calls=(ToolCall("calculator", {"expression": "1 +"}),))
    unknown = replace(shop.train[2], calls=None)
    steps = steps_by_question((good, bad, unknown), box)
    assert list(steps) == [good.text]
    traces = trace_examples(Model(FakeBackend()), (good, bad, unknown), steps)
    assert [e.id for e in traces] == [f"{good.id}-call", f"{good.id}-answer"]


def test_a_model_with_tools_is_saved_and_opened(shop, tmp_path) -> None:
    model = ToolCalling(shots=2).fit(perfect(shop), shop.without_test(), budget=BUDGET)
    folder = model.save(tmp_path / "tools")
    again = luthier.load(folder, base="fake")
    assert again.adaptation.tools == model.adaptation.tools
    assert again.adaptation.prompt == model.adaptation.prompt


def sample(made, wanted) -> SampleScore:
    steps = tuple(ToolStep(c.name, c.arguments, "") for c in made)
    return SampleScore("1", "", "", "", None, True, 0.0, steps=steps, wanted_calls=wanted)


def test_call_match_is_that_of_bfcl_and_counts_where_no_call_is_needed() -> None:
    a, b = ToolCall("f", {"x": "New York, NY", "n": 1}), ToolCall("g", {"y": [1, "a"]})
    assert call_match(sample([ToolCall("f", {"n": 1.0, "x": "new-york ny"})], (a,))) == 1
    assert call_match(sample([b, a], (a, b))) == 1
    assert call_match(sample([a, a], (a,))) == 1
    assert call_match(sample([], ())) == 1
    assert call_match(sample([a], ())) == 0
    assert call_match(sample([a, b], (a,))) == 0
    assert call_match(sample([], (a,))) == 0
    assert call_match(sample([ToolCall("f", {"x": "New York, NY", "n": True})], (a,))) == 0
    assert call_match(replace(sample([a], None), target="x")) == 0
    written = '{"name": "f", "arguments": {"x": "New York", "n": 1}}'
    said = replace(sample([], None), prediction=written.replace("N", "n"), target=f"[{written}]")
    assert call_match(said) == 1
    assert not same_calls([ToolCall("g", {"y": [1]})], [b])
    possible = {"x": ["a b", "c"], "unit": ["", "m"]}
    assert possible_call(ToolCall("h", {"x": "A B"}), "h", possible)
    assert possible_call(ToolCall("h", {"x": "c", "unit": "m"}), "h", possible)
    assert not possible_call(ToolCall("h", {"unit": "m"}), "h", possible)
    assert not possible_call(ToolCall("h", {"x": "c", "z": 1}), "h", possible)


def test_settings_are_checked(shop) -> None:
    for settings in ({"shots": -1}, {"steps": 0}, {"shots": True}):
        with pytest.raises(TechniqueError):
            ToolCalling(**settings)
    plain = Task.from_examples(
        [(f"q{i}", f"a{i}") for i in range(30)],
        instruction="Answer.",
        kind="generate",
        leaks="keep",
    )
    assert "names no tools" in ToolCalling().unmet_by_task(plain)


def test_a_folder_alone_opens_no_program_and_no_server(shop, tmp_path, monkeypatch) -> None:
    """A model of somebody else's that names `mcp:…` as its tools, and allows itself everything."""
    monkeypatch.setattr("luthier.tools.named_addresses._named", set())  # other tests name some
    marker = tmp_path / "started"
    address = f"mcp:touch {marker}"
    use = ToolUse((ToolSignature("pay", ""),), addresses=(address, "calculator"), allow=("pay",))
    folder = Model(FakeBackend()).adapt(tools=use).save(tmp_path / "model")
    model = luthier.load(folder, base="fake")
    assert model.adaptation.tools.allow == ()
    with pytest.raises(UserError, match="no reason to open"):
        model.respond("hello")
    assert not marker.exists()
    for spec in ("sql:postgresql://e.example/x", "sql:${HOME}", "openapi:x.json", "search:brave"):
        with pytest.raises(UserError, match="no reason"):
            check_named([spec])
    check_named(["calculator", "sql:shop.db", "lookup:prices.csv", "python"])
    monkeypatch.setenv("LUTHIER_ALLOWED_TOOLS", "openapi:x.json\nsearch:brave")
    check_named(["openapi:x.json", "search:brave"])


def test_the_report_shows_the_calls_and_the_way_to_answers() -> None:
    comparison = example_comparison()
    first, *others = comparison.results
    step = ToolStep("sql", {"query": "SELECT '<b>'"}, "3 <script>", seconds=0.25)
    bad = replace(step, result="The database says: no", failed=True)

    def with_calls(place: int, found: SampleScore) -> SampleScore:
        steps = (step,) if place % 2 else (bad, step)
        return replace(found, steps=steps, wanted_calls=(step.call,))

    runs = tuple(
        replace(run, sample_scores=tuple(with_calls(i, s) for i, s in enumerate(run.sample_scores)))
        for run in first.runs
    )
    shown = replace(comparison, results=(replace(first, runs=runs), *others))
    traces = tool_traces(shown)
    assert [row.technique for row in traces.rows] == [first.technique]
    assert traces.rows[0].calls == "1.50"
    assert traces.rows[0].matched == amounts.rate(1.0)
    assert call_sentences(shown)[0].startswith(f"{first.technique}: 1.50 calls an answer (")
    html = render_html(shown)
    assert 'id="calls"' in html
    assert "SELECT &#39;&lt;b&gt;&#39;" in html
    assert "3 &lt;script&gt;" in html
    assert 'id="calls"' not in render_html(comparison)


def test_the_shops_documents_say_what_its_tables_say(shop) -> None:
    """The price list and the calendar as text, so that a look-up is a row of its own."""
    folder = Path(shop.knowledge[0])
    prices = (folder / "price-list.md").read_text("utf-8")
    with (folder.parent / "shop_prices.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            said = f"{row['item']}: {row['price']}. Delivery {row['delivery']}, guarantee "
            assert f"{said}{row['guarantee']}." in prices
    calendar = (folder / "calendar.md").read_text("utf-8")
    rows = re.findall(
        r"INTO calendar VALUES \('(.*?)', '(.*?)'\)",
        (folder.parent / "shop.sql").read_text("utf-8"),
    )
    assert len(rows) >= 20
    assert all(f"{day}: {event}\n" in calendar for day, event in rows)
    assert RAG().unmet_by_task(shop) is None
    assert {"zero-shot", "few-shot", "rag", "tools", "lora -> tools"} <= {*default_techniques(shop)}


def test_a_reader_of_the_shops_documents_finds_every_price(shop) -> None:
    """A model that says what the passage says: every price is found."""

    def say(prompt: str) -> str:
        question = prompt.rsplit("Question: ", 1)[1].split("\n")[0]
        listed = re.findall(r"([A-Z][a-z]+(?: [a-z]+)+): ([0-9.]+ EUR)", prompt)
        return next((price for item, price in listed if item in question), "unknown")

    asked = tuple(
        e
        for e in (*shop.train, *shop.dev)
        if e.calls and e.calls[0].arguments.get("column") == "price"
    )  # fmt: skip
    task = replace(shop, dev=asked)
    model = RAG(mode="lexical", k=3).fit(
        Model(FakeBackend(say)), task.without_test(), budget=Budget(tokens=20_000_000)
    )
    answers = model.answer(asked)
    right = sum(a.answer == e.target for a, e in zip(answers, asked, strict=True))
    assert len(asked) > 10
    assert right >= 0.9 * len(asked)
