"""Damaged folders are refused by the name of the file, and a damaged ledger gives what it can."""

from __future__ import annotations

import json
import sqlite3
import struct
from importlib import import_module

import pytest
import yaml

from luthier.cli.main import run
from luthier.errors import ModelError, StorageError
from luthier.models.adaptation import Adapter, Head, VirtualTokens
from luthier.models.load import load
from luthier.models.model import Model
from tests.attacks.test_folders import again, compared, everything  # noqa: F401 - a fixture

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def base():
    from tests.tiny import backend

    return backend("llama")


@pytest.fixture
def folder(base, tmp_path, monkeypatch):
    """A saved model with a soft prompt and a head, and one with an adapter."""
    # The package's own name for the function hides the module of that name.
    monkeypatch.setattr(
        import_module("luthier.models.load"), "open_backend", lambda name, device="auto": base
    )
    model = Model(base)
    width = base.facts.hidden_size
    adapted = model.adapt(
        soft_prompt=VirtualTokens(torch.zeros(1, 2, width)),
        head=Head(torch.zeros(2, width), torch.zeros(2), ("a", "b"), 1),
    )
    return adapted.save(tmp_path / "model")


TENSORS = ["soft_prompt.safetensors", "head.safetensors"]
DAMAGE = {
    "empty": b"",
    "half": None,
    "words": b"these are no tensors at all, but words",
    "huge head": struct.pack("<Q", 2**62) + b"{}",
    "no json": struct.pack("<Q", 4) + b"[[[[",
    "deep json": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "beyond": struct.pack("<Q", 66)
    + b'{"tokens":{"dtype":"F32","shape":[9,9,9],"data_offsets":[0,9999]}} ',
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_a_file_of_tensors_is_named(folder, name, damage):
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[damage] if DAMAGE[damage] is not None else whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=name) as refused:
        load(folder, base="x")
    assert "damaged" in refused.value.problem


@pytest.mark.parametrize(
    "damage", ["missing", "folder", "other names", "integers", "shape", "width"]
)
def test_tensors_of_another_kind_are_named(folder, base, damage):
    from safetensors.torch import save_file

    path, width = folder / "soft_prompt.safetensors", base.facts.hidden_size
    made = {
        "other names": {"else": torch.zeros(1, 2, width)},
        "integers": {"tokens": torch.zeros(1, 2, width, dtype=torch.int64)},
        "shape": {"tokens": torch.zeros(2, width)},
        "width": {"tokens": torch.zeros(1, 2, width + 1)},
    }
    if damage in made:
        save_file(made[damage], path)
    else:
        path = folder / "head.safetensors"
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(ModelError, match=path.name):
        load(folder, base="x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "2"), ("format", None), ("format", [1]), ("base", 3), ("base", ["x"]),
        ("base_fingerprint", None), ("prompt", 3), ("prompt", {"instruction": 3}),
        ("prompt", {"labels": "abc"}),
        ("prompt", {"demonstrations": [{"input": 1, "target": "a"}]}),
        ("prompt", {"shots": "many"}), ("prompt", {"format": {"style": "loud"}}),
        ("decoding", {"max_new_tokens": "x"}), ("decoding", {"max_new_tokens": 0}),
        ("decoding", {"labels": [1, 2]}), ("decoding", {"stop": 3}), ("decoding", {"votes": None}),
        ("decoding", {"json_schema": "{"}), ("decoding", {"regex": "("}), ("lineage", 7),
        ("lineage", {"technique": 3}), ("knowledge", {"index": 3}), ("knowledge", "x"),
        ("soft_prompt_placement", "above"), ("head", 3), ("head", {"labels": "ab"}),
        ("head", {"labels": ["a"], "layer": 1, "pooling": "last"}),
        ("head", {"labels": ["a", "b"], "layer": "1", "pooling": "last"}),
        ("head", {"labels": ["a", "b"], "layer": 99, "pooling": "last"}),
        ("head", {"labels": ["a", "b"], "layer": 1, "pooling": "most"}),
    ],
)  # fmt: skip
def test_values_of_another_type_are_named(folder, key, value):
    path = folder / "luthier.yaml"
    record = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump({**record, key: value}), "utf-8")
    with pytest.raises(ModelError, match=r"luthier\.yaml"):
        load(folder, base="x")


def adapter_of(base):
    module = "model.layers.0.self_attn.q_proj"
    rows, columns = base.module.state_dict()[f"{module}.weight"].shape
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "target_modules": ["q_proj"],
              "layers_to_transform": [0]}  # fmt: skip
    return Adapter(config, {
        f"base_model.model.{module}.lora_A.weight": torch.zeros(2, columns),
        f"base_model.model.{module}.lora_B.weight": torch.zeros(rows, 2),
    })  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"peft_type": "NONE"}, {"peft_type": None}, {"peft_type": 3}, {"r": 10**9}, {"r": "two"},
        {"r": -1}, {"target_modules": 3}, {"target_modules": ["nothing"]}, {"unknown": 1},
        {"target_modules": "(([a-z._0-9])+)+!"}, {"target_modules": "("}, {"lora_alpha": {}},
        {"rank_pattern": {"((.)+)+!": 3}}, {"layers_to_transform": ["x"]}, {"modules_to_save": 3},
        {"init_lora_weights": "everything"}, {"task_type": "NONSENSE"}, {"use_dora": "yes"},
    ],
)  # fmt: skip
def test_a_config_of_an_adapter_is_refused_or_used(folder, base, tmp_path, change):
    from tests.attacks.watch import ends

    place = Model(base).adapt(adapter=adapter_of(base)).save(tmp_path / "adapted")
    assert load(place, base="x").ask("hello") is not None
    path = place / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with ends(change):
        load(place, base="x").ask("hello")
    assert Model(base).ask("hello") is not None  # the base is as it was


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[" * 100_000, b"\xff\xfe", b"null"])
def test_a_config_that_is_none_is_named(folder, base, tmp_path, content):
    place = Model(base).adapt(adapter=adapter_of(base)).save(tmp_path / "adapted")
    (place / "adapter" / "adapter_config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        load(place, base="x")


def damage_rows(out, table, column, value, count=100):
    with sqlite3.connect(out / "ledger.sqlite") as db:
        db.execute(
            f"UPDATE {table} SET {column} = ? WHERE rowid IN (SELECT rowid FROM {table} LIMIT ?)",
            (value, count),
        )
    db.close()


BROKEN = ["", "{", "null", "[]", '{"seed": "x"}', "[" * 100_000, '{"score": 3}']


@pytest.mark.parametrize("value", BROKEN[1:])
def test_a_damaged_run_is_named_left_out_and_made_again(compared, capsys, value):  # noqa: F811
    task, out = compared
    damage_rows(out, "runs", "result", value, 1)
    assert run(["report", "out"]) == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert "run " in shown
    assert "seed 0" in shown
    assert "--salvage" in shown
    assert run(["report", "out", "--salvage", "--table"]) == 0
    assert (
        "damaged" in " ".join(capsys.readouterr().out.split()) + (out / "report.html").read_text()
    )
    assert again(task) == 0
    assert run(["report", "out"]) == 0


@pytest.mark.parametrize("column", ["task", "model", "plan", "prices", "provenance"])
def test_a_damaged_comparison_is_named(compared, capsys, column):  # noqa: F811
    task, out = compared
    for value in BROKEN:
        if value.startswith('{"') and column in ("prices", "provenance"):
            continue  # unknown fields are left aside, and these records have no others
        damage_rows(out, "comparisons", column, value)
        for command in (["report", "out"], ["ask", "out", "hello"]):
            # A comparison that ended is also whole in comparison.json, which `ask` reads.
            code = run(command)
            assert code in ((1,) if command[0] == "report" else (0, 1)), value
            shown = " ".join(capsys.readouterr().err.split())
            assert code == 0 or "ledger is damaged" in shown
            assert "should not" not in shown
    assert again(task) in (0, 1)
    assert "should not" not in capsys.readouterr().err
    assert run(["ask", "out/zero-shot", "hello"]) == 0


@pytest.mark.parametrize("damage", ["words", "half", "zeros"])
def test_a_file_that_is_no_ledger_is_told(compared, capsys, damage):  # noqa: F811
    task, out = compared
    path = out / "ledger.sqlite"
    whole = path.read_bytes()
    for log in out.glob("ledger.sqlite-*"):
        log.unlink()
    path.write_bytes({"words": b"no ledger " * 500, "half": whole[:5000],
                      "zeros": whole[:100] + bytes(len(whole) - 100)}[damage])  # fmt: skip
    before = everything(out / "zero-shot")
    for command in (lambda: run(["report", "out"]), lambda: again(task)):
        assert command() == 1
        shown = capsys.readouterr().err
        assert "ledger" in shown
        assert "should not" not in shown
    assert everything(out / "zero-shot") == before
    assert run(["ask", "out/zero-shot", "hello"]) == 0


def test_an_index_with_damaged_facts_is_told(tmp_path):
    from luthier.retrieval import IndexSettings, SearchSettings, build_index, open_index

    (tmp_path / "a.txt").write_text("hello mayor")
    build_index([tmp_path / "a.txt"], tmp_path / "i", settings=IndexSettings(embedder="none"))
    for key, value in (("settings", "{"), ("dimension", "x"), ("settings", "[]")):
        db = sqlite3.connect(tmp_path / "i" / "index.sqlite")
        before = db.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value))
        db.commit()
        with pytest.raises(StorageError, match="damaged"):
            open_index(tmp_path / "i").search(["mayor"], SearchSettings(mode="lexical"))
        db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, before[0] if before else ""))
        db.commit()
        db.close()
