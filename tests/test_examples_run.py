"""Every example goes from task file to verdict with nano, on a few examples and a small budget."""

from __future__ import annotations

from pathlib import Path

import pytest

import luthier
from luthier.compare.options import Options
from tests.test_examples_load import EXAMPLES, EXPECTED, needs, needs_voice

# What each kind of task should go through: scored labels, generated text, foreseen text.
TECHNIQUES = {
    "brand-assistant": ("zero-shot", "lora"),
    "author-style": ("zero-shot", "soft-prompt"),
    "headlines": ("zero-shot", "few-shot"),
    "sentiment": ("zero-shot", "lora"),
}


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"routing"}))
def test_an_example_runs_to_its_verdict(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(EXPECTED[name][0], monkeypatch)
    needs_voice(name)
    found = luthier.compare(
        EXAMPLES / f"{name}.yaml",
        techniques=TECHNIQUES.get(name, ("zero-shot",)),
        budget="20ktok",
        seeds=1,
        out=tmp_path / "run",
        options=Options(limit=6),
    )
    for row in found.results:
        assert row.status == "finished", (row.technique, row.reason)
        assert row.score.value is not None
        assert row.score.low <= row.score.value <= row.score.high
    assert found.verdict.because
    assert (tmp_path / "run" / "comparison.json").is_file()
