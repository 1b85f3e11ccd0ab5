"""Saved adaptations: every slot comes back equal, and folders of earlier versions still open."""

from __future__ import annotations

import math
from pathlib import Path

import luthier
from luthier.models.adaptation import Decoding
from luthier.models.fake import FakeBackend
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt, PromptFormat
from luthier.models.storage import open_adaptation
from luthier.records import FitRecord, FitStep, Lineage

PROMPT = Prompt(
    instruction="Route the message.",
    labels=("billing", "delivery"),
    label_descriptions=(("billing", "money"),),
    demonstrations=(Demonstration("my card", "billing"), Demonstration("parcel", "delivery", "p")),
    selection="knn",
    shots=1,
    format=PromptFormat(target_name="Queue", list_labels=False),
)
DECODING = Decoding(labels=("billing", "delivery"), label_bias=(("billing", -1.5),), stop=())

# As it was written before records were read back by their type hints.
EARLIER = """\
format: 1
base: fake
base_fingerprint: {fingerprint}
prompt:
  instruction: Route the message.
  context: ''
  objective: ''
  negative: ''
  labels: [billing, delivery]
  label_descriptions:
  - [billing, money]
  demonstrations:
  - {{input: my card, target: billing, context: null}}
  - {{input: parcel, target: delivery, context: p}}
  selection: knn
  shots: 1
  format: {{input_name: Input, target_name: Queue, context_name: Passage, labels_name: Labels,
    name_separator: ': ', field_separator: "\\n", block_separator: "\\n\\n", list_labels: false,
    label_style: as-is, style: auto, input_place: after}}
decoding:
  labels: [billing, delivery]
  label_bias:
  - [billing, -1.5]
  length_normalised: false
  max_new_tokens: 64
  temperature: 0.0
  stop: []
  regex: null
  json_schema: null
  guidance_scale: 1.0
  votes: 1
lineage:
  technique: few-shot
  settings: {{shots: 1}}
  seed: 3
  fit: {{fit_seconds: 0.5, spent_tokens: 10, history: [{{step: 1, dev_score: 0.25}}],
    notes: [a note]}}
  parent:
    technique: zero-shot
    settings: {{}}
    seed: 3
    fit: {{}}
    parent: null
"""


def test_a_folder_of_an_earlier_version_opens(tmp_path: Path) -> None:
    text = EARLIER.format(fingerprint=FakeBackend().fingerprint)
    (tmp_path / "luthier.yaml").write_text(text, "utf-8")
    model = load(tmp_path)
    assert model.adaptation.prompt == PROMPT
    assert model.adaptation.decoding == DECODING
    assert model.lineage is not None
    assert model.lineage.fit.history == (FitStep(step=1, dev_score=0.25),)
    assert model.lineage.fit.notes == ("a note",)
    assert model.lineage.parent == Lineage("zero-shot", {}, 3)


def test_records_come_back_equal(tmp_path: Path) -> None:
    fit = FitRecord(spent_tokens=7, history=(FitStep(step=0, train_loss=1.25),))
    lineage = Lineage("lora", {"rank": 8}, 1, fit, parent=Lineage("few-shot", {"shots": 4}, 1))
    schema = Decoding(json_schema={"type": "object"}, temperature=0.5, votes=3)
    for decoding in (DECODING, schema):
        model = Model(FakeBackend(), lineage=lineage).adapt(prompt=PROMPT, decoding=decoding)
        adaptation, again, base, fingerprint = open_adaptation(model.save(tmp_path / "saved"))
        assert (adaptation.prompt, adaptation.decoding) == (PROMPT, decoding)
        assert (again, base, fingerprint) == (lineage, "fake", model.backend.fingerprint)


def test_a_figure_that_is_not_finite_is_unmeasured_once_it_is_saved(tmp_path: Path) -> None:
    step = FitStep(step=0, train_loss=math.nan, learning_rate=math.inf)
    fit = FitRecord(history=(step,))
    model = Model(FakeBackend(), lineage=Lineage("lora", {}, 0, fit))
    again = open_adaptation(model.save(tmp_path / "saved"))[1]
    assert again is not None
    assert again.fit.history == (FitStep(step=0),)


def test_a_saved_model_knows_the_examples_it_was_fitted_on(tmp_path: Path) -> None:
    rows = [
        {"input": f"message number {n} of a customer", "target": "ab"[n % 2]} for n in range(40)
    ]
    task = luthier.Task.from_examples(rows, instruction="Which?", name="made")
    budget = luthier.Budget(tokens=20_000)
    base = Model(FakeBackend(lambda prompt: "a"))
    zero = luthier.ZeroShot().fit(base, task.without_test(), budget=budget)
    fitted = luthier.FewShot(shots=2).fit(zero, task.without_test(), budget=budget)
    assert luthier.evaluate(zero, task).met_examples is None, "it looked at none"
    assert luthier.evaluate(fitted, task).met_examples == 0
    adaptation, lineage, _, _ = open_adaptation(fitted.save(tmp_path / "few-shot"))
    again = Model(base.backend, adaptation, lineage)
    assert lineage is not None
    assert lineage == fitted.lineage
    assert lineage.met == set(task.example_hashes)
    assert task.example_hashes[0] not in (tmp_path / "few-shot" / "luthier.yaml").read_text("utf-8")
    assert luthier.evaluate(again, task, split="dev").met_examples == len(task.dev)
    # The same rows cut in another place, with other spacing: most of this test split was seen.
    spaced = [{**row, "input": row["input"].replace(" ", "  ").upper()} for row in rows]
    other = luthier.Task.from_examples(spaced, instruction="Which?", name="made", seed=5)
    met = luthier.evaluate(again, other).met_examples
    tests = {e.text.lower() for e in task.test}
    assert met == sum(" ".join(e.text.lower().split()) not in tests for e in other.test) > 0


def test_each_step_of_a_lineage_keeps_its_own_examples(tmp_path: Path) -> None:
    first = Lineage("a", {}, 0, examples=("01", "02"))
    same = Lineage("b", {}, 0, parent=first, examples=("01", "02"))
    other = Lineage("c", {}, 0, parent=first, examples=("03",))
    for lineage in (same, other, Lineage("d", {}, 0), Lineage("e", {}, 0, parent=other)):
        folder = Model(FakeBackend(), lineage=lineage).save(tmp_path / lineage.technique)
        found = open_adaptation(folder)[1]
        assert found == lineage
        assert found.met == lineage.met
    assert "01" not in (tmp_path / "b" / "luthier.yaml").read_text("utf-8").split()
