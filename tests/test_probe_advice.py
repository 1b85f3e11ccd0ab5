"""The advice: measurements on planted bases, the rule's order, and a comparison that goes by it."""

from __future__ import annotations

import io
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from luthier.compare.comparison import Comparison
from luthier.compare.options import Options
from luthier.compare.run_comparison import compare
from luthier.models.fake import FakeBackend
from luthier.models.model import Model
from luthier.probe.advice_facts import AdviceFacts
from luthier.probe.advice_rule import (
    LEARNT,
    ROWS,
    SEARCH,
    TRAINED,
    expected,
    learnt_share,
    plain_recipe,
    rank,
)
from luthier.probe.fact_finding import measure_facts
from luthier.probe.findings import Findings
from luthier.probe.probe_advice import Advice, advice_for, advise
from luthier.probe.probe_request import ProbeLimits, ProbeRequest
from luthier.report import terminal_table, write_html
from luthier.serialization import dumps, loads
from luthier.task.task import Task
from tests.probed_models import last_input, sampling, scoring

ROOT = Path(__file__).parent.parent
FACTS = AdviceFacts(
    metric="accuracy", train_examples=400, dev_examples=100, labels=8, documents=False, tools=False,
    free_text=False, encoder_decoder=False, can_train=True, can_embed=True, context_tokens=2048,
    example_tokens=30.0, shots=8, zero_shot=0.2, few_shot=0.4, plain=0.6, chance=0.12,
)  # fmt: skip
NAMES = ("zero-shot", "few-shot", "prefix", "lora", "linear-probe")


def first(facts, names=NAMES, **passes):
    return rank(facts, {**dict.fromkeys(names), **passes})[0].technique


def order(facts, *names):
    return [one.technique for one in rank(facts, dict.fromkeys(names))]


def test_what_words_tell_and_a_prompt_does_not_is_for_the_weights():
    assert first(FACTS) == "lora"
    assert order(FACTS, *NAMES)[1] == "prefix" or order(FACTS, *NAMES)[1] == "linear-probe"
    assert order(FACTS, *NAMES)[-1] == "zero-shot"


def test_what_demonstrations_draw_out_needs_few_examples():
    known = replace(FACTS, few_shot=0.85, train_examples=16)
    assert expected(known, "few-shot", None)[0] == pytest.approx(0.85 + SEARCH)
    assert order(known, *NAMES)[:2] == ["few-shot", "prefix"]  # which begins as demonstrations
    assert order(known, *NAMES)[-2:] == ["lora", "zero-shot"]


def test_few_rows_teach_little_and_the_first_the_most():
    few, many = (expected(FACTS, "lora", passes)[0] for passes in (3.0, 12.0))
    assert many == few == pytest.approx(0.6 + LEARNT)  # 1,200 rows are enough
    small = replace(FACTS, train_examples=100)
    values = [expected(small, "lora", passes)[0] for passes in (3.0, 6.0, 12.0)]
    assert values[0] < values[1] < values[2] == few
    assert values[1] - values[0] > (values[2] - values[1]) / 2
    assert learnt_share(replace(FACTS, train_examples=16), None) == pytest.approx(0.05)


def test_the_order_that_was_measured_on_routing_comes_out_of_its_measurements():
    """docs/results.md and the README: nano, 60,000 and 150,000 tokens a fit."""
    routing = replace(FACTS, train_examples=408, zero_shot=0.16, few_shot=0.44, plain=0.69)
    short = {"zero-shot": None, "few-shot": None, "lora": 3.0, "prefix": 3.0}
    assert [r.technique for r in rank(routing, short)][:2] == ["lora", "prefix"]
    assert expected(routing, "lora", 3.0)[0] == pytest.approx(0.70, abs=0.05)
    assert expected(routing, "prefix", 3.0)[0] == pytest.approx(0.59, abs=0.05)
    few = replace(routing, train_examples=163)  # 490 rows, as 1.2 passes over all
    assert expected(few, "lora", 3.0)[0] == pytest.approx(0.49, abs=0.06)
    assert expected(few, "prefix", 3.0)[0] == pytest.approx(0.56, abs=0.05)


def test_a_budget_that_tries_nothing_puts_what_trains_last():
    found = rank(FACTS, {"lora": 2.0, "prefix": 2.9, "few-shot": None, "zero-shot": None})
    assert [one.technique for one in found] == ["few-shot", "zero-shot", "lora", "prefix"]
    assert "2.0 passes" in found[2].reason
    assert rank(FACTS, {"lora": 3.0, "few-shot": None})[0].technique == "lora"


def test_documents_that_help_come_before_everything_else():
    asked = replace(FACTS, labels=0, free_text=True, documents=True, plain=None, chance=None,
                    zero_shot=0.0, few_shot=0.01, open_book=0.3)  # fmt: skip
    names = ("zero-shot", "few-shot", "lora", "rag", "lora -> rag", "rag -> few-shot")
    assert order(asked, *names)[0].startswith("rag")
    useless = replace(asked, few_shot=0.5, open_book=0.1)
    assert order(useless, *names)[0] in ("few-shot", "lora")
    assert expected(replace(asked, open_book=None), "rag", None) is None


def test_an_encoder_s_states_tell_more_than_a_decoder_s():
    assert first(replace(FACTS, encoder_decoder=True)) == "linear-probe"
    encoder = replace(FACTS, encoder_decoder=True)
    names = ("soft-prompt", "few-shot")
    assert order(encoder, *names)[0] == "soft-prompt"
    assert order(FACTS, *names)[0] == "few-shot"
    banking = replace(
        encoder, train_examples=213, labels=6, zero_shot=0.57, few_shot=0.87, plain=0.9
    )
    assert expected(banking, "soft-prompt", 3.0)[0] == pytest.approx(0.81, abs=0.03)  # docs/LOG.md


def test_what_the_rule_does_not_know_stands_last_and_says_so():
    found = rank(FACTS, {"magic(rank=4)": None, "zero-shot": None})
    assert [one.technique for one in found] == ["zero-shot", "magic(rank=4)"]
    assert found[1].expected is None
    assert "does not know" in found[1].reason
    assert plain_recipe("lora(rank=4) -> rag(k=3)") == "lora -> rag"
    assert expected(FACTS, "lora(rank=4)", None) == expected(FACTS, "lora", None)
    assert expected(replace(FACTS, zero_shot=None), "lora", None) is None


def test_equals_keep_their_order():
    alike = replace(FACTS, few_shot=0.4, zero_shot=0.4 + SEARCH)
    assert order(alike, "zero-shot", "few-shot") == ["zero-shot", "few-shot"]
    assert order(alike, "few-shot", "zero-shot") == ["few-shot", "zero-shot"]


def test_the_guide_holds_the_rule():
    page = (ROOT / "docs/guides/probe.md").read_text("utf-8")
    table = page.partition("| technique | expected on dev |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `([^`]+)`", table, re.M)) == set(ROWS)
    source = (ROOT / "src/luthier/probe/advice_rule.py").read_text("utf-8")
    constants = dict(re.findall(r"^([A-Z_\d]+) = (-?[\d.]+)  #", source, re.M))
    told = dict(re.findall(r"^\| `([A-Z_\d]+)` \| (-?[\d.]+) \|", page, re.M))
    assert told == constants
    assert set(ROWS) > TRAINED


WORDS = {"billing": ("invoice", "charge", "refund"), "delivery": ("parcel", "courier", "truck"),
         "login": ("password", "account", "code")}  # fmt: skip


def tickets(count=120, **keys):
    rng = random.Random(1)
    rows = []
    for i in range(count):
        label = sorted(WORDS)[i % 3]
        rows.append(
            {"input": f"case {i}: the {rng.choice(WORDS[label])} is wrong", "target": label}
        )
    half, end = count // 2, 5 * count // 6
    return Task.from_examples(
        {"train": rows[:half], "dev": rows[half:end], "test": rows[end:]}, input="input",
        target="target", name="tickets", instruction="Route it.", kind="classify",
        labels=sorted(WORDS), **keys,
    )  # fmt: skip


def truth(text):
    return next(label for label, words in WORDS.items() if any(word in text for word in words))


def needs_demonstrations(prompt, label):
    """Right where it was shown anything, always "billing" elsewhere."""
    shown = len(re.findall(r"^Label: \w", prompt, re.M)) > 0
    return 4.0 * (label == (truth(last_input(prompt)) if shown else "billing"))


def facts_of(model, task, **limits):
    request = ProbeRequest(task=task, limits=ProbeLimits(**{"examples": 30, **limits}))
    return measure_facts(model, request)


def test_the_facts_are_measured_on_dev():
    facts = facts_of(scoring(needs_demonstrations), tickets())
    assert (facts.zero_shot, facts.few_shot, facts.plain) == (
        pytest.approx(1 / 3, abs=0.1),
        1.0,
        1.0,
    )
    assert facts.chance == pytest.approx(1 / 3, abs=0.12)
    assert (facts.labels, facts.train_examples, facts.dev_examples) == (3, 60, 30)
    assert facts.examples_per_label == 20
    assert not facts.free_text
    assert facts.open_book is None


def test_the_test_split_is_not_looked_at():
    task = tickets()
    locked = facts_of(scoring(needs_demonstrations), task.without_test())
    assert locked == facts_of(scoring(needs_demonstrations), task)


def test_a_bias_towards_a_label_is_not_taken_for_ignorance():
    def biased(prompt, label):
        return 1.0 * (label == truth(last_input(prompt))) + 1.5 * (label == "login")

    facts = facts_of(scoring(biased), tickets())
    assert facts.zero_shot < 0.5
    assert facts.few_shot == 1.0


def test_documents_are_asked_for_what_the_base_does_not_know(tmp_path):
    towns = [f"Town{i:02}" for i in range(40)]
    for i, town in enumerate(towns):
        (tmp_path / f"{town}.txt").write_text(f"The mayor of {town} is Mayor{i:02}.\n", "utf-8")
    rows = [{"q": f"Who is the mayor of {t}?", "a": f"Mayor{i:02}"} for i, t in enumerate(towns)]
    task = Task.from_examples(
        {"train": rows[:20], "dev": rows[20:35], "test": rows[35:]}, input="q", target="a",
        name="mayors", instruction="Answer.", kind="question-answering", knowledge=str(tmp_path),
    )  # fmt: skip

    def reads(prompt, rng):
        town = re.findall(r"mayor of (Town\d+)\?", prompt)[-1]
        found = re.search(rf"The mayor of {town} is (\w+)", prompt)
        return found[1] if found else "nobody"

    facts = facts_of(sampling(reads), task)
    assert (facts.zero_shot, facts.few_shot, facts.open_book) == (0.0, 0.0, 1.0)
    advice = advise(Findings("fake", ""), sampling(reads), ProbeRequest(task=task), ())
    assert advice.first.startswith("rag")
    assert "lora" not in [one.technique for one in advice.ranking]  # the fake cannot be trained


def test_a_task_that_the_rule_cannot_judge_gets_no_advice():
    request = ProbeRequest(task=tickets())
    model = scoring(needs_demonstrations)
    assert "No task" in advise(Findings("fake", ""), model, ProbeRequest(), ()).lacks
    task = tickets()
    bare = ProbeRequest(task=replace(task, dev=()))
    assert "no dev examples" in advise(Findings("fake", ""), model, bare, ()).lacks
    assert Advice(lacks="so").sentences() == ["so"]
    advice = advise(Findings("fake", ""), model, request, ())
    assert loads(Advice, dumps(advice)) == advice
    assert advice.first == "few-shot"
    assert advice.sentences()[0].startswith("Try few-shot first.")


def test_several_bases_share_one_ranking():
    shown, blind = scoring(needs_demonstrations), scoring(lambda p, c: 1.0 * (c == "billing"))
    names = dict.fromkeys(("zero-shot", "few-shot"))
    request = ProbeRequest(task=tickets(), limits=ProbeLimits(examples=30))
    advice = advice_for({"a": blind, "b": shown}.__getitem__, request, {"a": names, "b": names})
    assert advice.first == "few-shot on b"
    assert set(advice.facts) == {"a", "b"}


class Listening:
    """Keeps what a comparison tells."""

    def __init__(self):
        self.plan, self.ran = None, []

    def planned(self, plan, folder):
        self.plan = plan

    def progressed(self, progress):
        pass

    def ended(self, technique, run, *, from_ledger):
        if not from_ledger:
            self.ran.append(technique)


def html_page(comparison):
    return write_html(comparison, Path(comparison.folder) / "report.html").read_text("utf-8")


def text_of_table(comparison):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(terminal_table(comparison))
    return console.export_text()


def compared(folder, techniques, **options):
    listener = Listening()
    made = compare(
        tickets(), Model(FakeBackend()), techniques=techniques, budget="100ktok", seeds=1,
        out=folder, options=Options(listener=listener, references=False, **options),
    )  # fmt: skip
    return made, listener


def test_a_comparison_runs_the_likely_winners_first_and_scores_the_advice(tmp_path):
    made, listener = compared(tmp_path / "run", "zero-shot,few-shot", advise=True)
    advice = listener.plan.advice
    assert advice.first == "few-shot"
    assert listener.ran == ["few-shot", "zero-shot"]
    assert [r.technique for r in made.results] == [
        "zero-shot",
        "few-shot",
    ]  # as they were asked for
    assert made.advice_outcome.first == "few-shot"
    assert made.advice_outcome.hit is True
    assert made.to_json()["advice"]["hit"] is True
    for shown in (html_page(made), text_of_table(made)):
        assert "Advised beforehand" in shown
        assert "Try few-shot first." in shown
        assert "given before anything was fitted" in shown
    again = Comparison.load(tmp_path / "run")
    assert (again.plan.advice, again.advice_outcome) == (advice, made.advice_outcome)


def test_without_being_asked_for_there_is_no_advice(tmp_path):
    made, listener = compared(tmp_path / "run", "zero-shot,few-shot")
    assert listener.plan.advice is None
    assert made.advice_outcome is None
    assert listener.ran == ["zero-shot", "few-shot"]
    assert made.to_json()["advice"] is None


def test_advice_comes_before_a_fit_or_not_at_all(tmp_path):
    compared(tmp_path / "run", "zero-shot,few-shot")
    made, listener = compared(tmp_path / "run", "zero-shot,few-shot", advise=True)
    assert listener.plan.advice is None
    assert made.advice_outcome is None


def test_a_resumed_comparison_keeps_its_advice(tmp_path):
    first, _ = compared(tmp_path / "run", "zero-shot,few-shot", advise=True, plan_only=True)
    assert first.plan.advice is not None
    made, listener = compared(tmp_path / "run", "zero-shot,few-shot")
    assert listener.plan.advice == first.plan.advice
    assert listener.ran[0] == "few-shot"
    assert made.advice_outcome.hit is True


def test_the_benchmark_goes_on_where_it_stopped_and_writes_its_page(tmp_path, monkeypatch):
    from benchmarks import advice as benchmark
    from benchmarks.small_tasks import SmallTask

    made = []

    def make():
        made.append(1)
        return tickets()

    small = SmallTask("tickets", "fake", make)
    monkeypatch.setattr(benchmark, "FIRST", (small,))
    monkeypatch.setattr(benchmark, "TASKS", {"tickets": small})
    assert "No task has been run" in benchmark.page(benchmark.finished(tmp_path))
    for _ in range(2):
        benchmark.run(small, tmp_path)
    assert len(made) == 1
    page = benchmark.page(benchmark.finished(tmp_path))
    assert "| tickets | fake | 60 |" in page
    assert "| few-shot | few-shot (" in page
    assert "- the advice: 1 of 1" in page
    monkeypatch.setattr(benchmark, "RULE", "later")
    assert "few-shot †" in benchmark.page(benchmark.finished(tmp_path))
