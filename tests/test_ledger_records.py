"""Records to JSON and back, the response cache, provenance."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.ledger.cache import ResponseCache, response_key
from luthier.ledger.provenance import provenance
from luthier.records import (
    Capability,
    FitRecord,
    FitStep,
    SampleScore,
    Score,
    StepRecord,
    TrainingFacts,
)
from luthier.serialization import canonical, dumps, loads, to_plain


@dataclass(frozen=True)
class Inner:
    name: str
    value: float | None = None


@dataclass(frozen=True)
class Outer:
    many: tuple[Inner, ...]
    pairs: tuple[tuple[str, float], ...]
    named: Mapping[str, Inner]
    anything: Mapping[str, Any]
    status: Literal["a", "b"] = "a"
    kind: Capability = Capability.TEXT
    inner: Inner | None = None
    folder: Path | None = None


def test_a_nested_record_comes_back_equal() -> None:
    record = Outer(
        many=(Inner("x", 1.5), Inner("y")),
        pairs=(("a", 0.1), ("b", 2.0)),
        named={"k": Inner("z")},
        anything={"list": [1, "two", None], "deep": {"x": True}},
        status="b",
        kind=Capability.GRADIENTS,
        inner=Inner("w", 3),
        folder=Path("a/b"),
    )
    back = loads(Outer, dumps(record))
    assert back == record
    assert isinstance(back.kind, Capability)
    assert isinstance(back.pairs[0], tuple)


@given(
    st.builds(
        SampleScore,
        example_id=st.text(),
        input=st.text(st.characters(codec=None)),
        target=st.text(),
        raw=st.text(),
        prediction=st.none() | st.text(),
        parseable=st.booleans(),
        value=st.floats(allow_nan=False, allow_infinity=False),
        group=st.none() | st.text(),
    )
)
def test_any_judged_example_comes_back_equal_in_ascii(sample_scores: SampleScore) -> None:
    text = dumps(sample_scores)
    assert text.isascii()
    assert loads(SampleScore, text) == sample_scores


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_becomes_null(value: float) -> None:
    assert json.loads(dumps(Score("m", value)))["value"] is None
    assert loads(Score, dumps(Score("m", value))).value is None


def test_fields_of_another_version_do_no_harm() -> None:
    assert loads(Inner, '{"name": "x", "later": 1}') == Inner("x")
    with pytest.raises(TypeError):
        loads(Inner, '{"value": 1.0}')
    with pytest.raises(TypeError):
        loads(Inner, "[]")


def test_numpy_scalars_are_plain_numbers() -> None:
    import numpy as np

    fit = FitRecord(settled={"rate": np.float32(0.5), "steps": np.int64(3)})
    assert to_plain(fit)["settled"] == {"rate": 0.5, "steps": 3}


def test_canonical_text_does_not_depend_on_order() -> None:
    assert canonical({"b": 1, "a": {"d": 2, "c": 3}}) == canonical({"a": {"c": 3, "d": 2}, "b": 1})


def test_the_seed_is_part_of_the_cache_key(tmp_path: Path) -> None:
    keys = {
        response_key(model=model, prompt=prompt, decoding={"t": t}, seed=seed)
        for model in ("m", "n")
        for prompt in ("p", "q")
        for t in (0.0, 1.0)
        for seed in (0, 1)
    }
    assert len(keys) == 16
    cache = ResponseCache(tmp_path / "deep" / "responses.sqlite")
    first, second = sorted(keys)[:2]
    cache.put(first, "answer")
    cache.put(first, "another")
    assert cache.get(first) == "answer"
    assert cache.get(second) is None
    cache.close()
    again = ResponseCache(tmp_path / "deep" / "responses.sqlite")
    assert again.get(first) == "answer"
    again.close()


def test_provenance_knows_torch_without_importing_it() -> None:
    found = provenance()
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.torch is not None
    assert (found.memory_bytes or 0) > 0
    code = (
        "import sys; from luthier.ledger.provenance import provenance; provenance(); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fit_records_of_the_old_form_still_open() -> None:
    old = (
        '{"fit_seconds":1.5,"chosen":{"learning_rate":0.1,"dev_score":0.5},'
        '"history":[{"stage":"train","trial":0,"step":4,"dev_score":0.5,"mrr@10":1.0}],"notes":[]}'
    )
    read = loads(FitRecord, old)
    assert read.fit_seconds == 1.5
    assert read.history == (FitStep(stage="train", trial=0, step=4, dev_score=0.5),)


def test_a_recipe_adds_up_its_steps_and_reads_back() -> None:
    facts = TrainingFacts(0.1, (0.1, 0.3), 40, 4, 1.5, 20, True)
    first = FitRecord(fit_seconds=1.0, spent_tokens=5, unread_documents=("a.pdf: torn.",))
    last = FitRecord(
        spent_tokens=7, training=facts, history=(FitStep(step=3, train_loss=0.5),), notes=("n",)
    )
    whole = FitRecord.of_recipe([StepRecord("rag", first), StepRecord("lora", last, 0.75)])
    assert (whole.fit_seconds, whole.spent_tokens, whole.trainable_parameters) == (1.0, 12, None)
    assert (whole.dev_score, whole.history) == (0.75, last.history)
    assert (whole.unread_documents, whole.notes) == (("a.pdf: torn.",), ("n",))
    text = dumps(whole)
    assert '"history":[{"step":3,"train_loss":0.5}]' in text  # nothing unmeasured is stored
    assert loads(FitRecord, text) == whole
