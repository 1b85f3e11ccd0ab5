# ruff: noqa: E501 - seeds stand in one line
"""Damaged files by the thousand: each is read or refused in words, and none takes half a minute."""

from __future__ import annotations

import json
import random
import sqlite3
from importlib import import_module

import pytest

from luthier.models import endpoint
from luthier.models.adaptation import Adapter, Decoding, Head, VirtualTokens
from luthier.models.load import load
from luthier.models.model import Model
from luthier.models.prompt import Demonstration, Prompt
from luthier.retrieval import IndexSettings, SearchSettings, build_index, open_index
from luthier.retrieval.ingest.reading import read_bytes
from luthier.task.task import Task
from tests.attacks.mutations import mutated
from tests.attacks.test_documents import docx_of
from tests.attacks.watch import ends

TASK = """\
name: tickets
instruction: Route the message to one queue.
data: rows.csv
input: message
target: queue
kind: classify
labels: {a: the first, b: the second, c: }
rename: {d: a}
context: A shop that sells tents.
group: customer
split: {train: 0.6, dev: 0.2, test: 0.2}
leaks: keep
max_new_tokens: 20
limit: 500
encoding: utf-8
skip_empty: true
"""


def csv_text(count=40):
    lines = (
        f'"item {n} of {n * 7}, lost on day {n}",{"abc"[n % 3]},c{n // 2}' for n in range(count)
    )
    return "message,queue,customer\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("part", range(8))
def test_two_thousand_task_files(tmp_path, part):
    (tmp_path / "rows.csv").write_text(csv_text())
    rng = random.Random(part)
    loaded = 0
    for _ in range(250):
        text = mutated(TASK.encode(), rng)
        (tmp_path / "task.yaml").write_bytes(text)
        with ends(text):
            task = Task.load(tmp_path / "task.yaml")
            task.base_prompt()
            loaded += 1
    assert 0 < loaded < 250


def parquet_bytes(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"message": [f"item {n} of {n * 7}" for n in range(40)],
               "queue": [*"abc"] * 13 + ["a"], "customer": [str(n) for n in range(40)]}  # fmt: skip
    parquet.write_table(pyarrow.table(columns), folder / "seed.parquet")
    return (folder / "seed.parquet").read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet", "csv.gz"])
def test_six_hundred_data_files(tmp_path, suffix):
    import gzip

    rows = [dict(zip(("message", "queue", "customer"), (f"item {n} of {n * 7}", "abc"[n % 3], str(n)),
                     strict=True)) for n in range(40)]  # fmt: skip
    seeds = {
        "csv": lambda: csv_text().encode(),
        "tsv": lambda: csv_text().replace(",", "\t").encode(),
        "json": lambda: json.dumps(rows).encode(),
        "jsonl": lambda: "\n".join(map(json.dumps, rows)).encode(),
        "parquet": lambda: parquet_bytes(tmp_path),
        "csv.gz": lambda: gzip.compress(csv_text().encode()),
    }
    seed, rng = seeds[suffix](), random.Random(suffix)
    (tmp_path / "task.yaml").write_text(TASK.replace("rows.csv", f"rows.{suffix}"))
    loaded = 0
    for _ in range(100):
        data = mutated(seed, rng)
        (tmp_path / f"rows.{suffix}").write_bytes(data)
        with ends(data):
            task = Task.load(tmp_path / "task.yaml")
            assert all(e.input.strip() and e.target.strip() for e in task.train)
            loaded += 1
    assert loaded < 100


DOCUMENTS = {
    ".md": b"# Towns\n\nThe mayor of *Dorma* is [Quist](a.md).\n\n## Rivers\n\n- cold\n- wide\n\n"
    b"```\ncode\n```\n",
    ".html": b"<html><head><title>Towns</title></head><body><h1>Dorma</h1><p>The mayor is <b>Quist"
    b"</b>.</p><ol start=3><li>a<li>b</ol><table><tr><td colspan=2>x</table></body></html>",
    ".docx": None,
    ".pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1"
    b">>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</Font<</F1"
    b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>>>>>endobj\n4 0 obj<</Length 40>>stream\nBT /F1 9 Tf "
    b"9 9 Td (Quist is mayor) Tj ET\nendstream endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
    ".py": b'"""Towns."""\n\nclass Town:\n    """One."""\n\n    def mayor(self):\n        return "Quist"\n',
    ".csv": b"title,text\nDorma,\"The mayor, Quist\"\nElva,The river\n",
    ".jsonl": b'{"title": "Dorma", "text": "The mayor is Quist"}\n{"text": "more"}\n',
    ".txt": "Der Bürgermeister heißt Quist.\n".encode("cp1252"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", sorted(DOCUMENTS))
def test_four_hundred_documents(suffix):
    if suffix in (".docx", ".html", ".pdf"):
        pytest.importorskip("docx", reason="needs luthier[rag]")
    seed, rng = DOCUMENTS[suffix] or docx_of(), random.Random(suffix)
    for _ in range(50):
        data = mutated(seed, rng)
        with ends(data):
            found = read_bytes(suffix, data)
            found.text.encode("utf-8")
            assert all(0 <= s.start <= s.end <= len(found.text) for s in found.sections)


def adaptation_seeds(base, folder):
    """Saved models with every slot filled that needs no fit."""
    import torch

    width = base.facts.hidden_size
    tokens = VirtualTokens(torch.zeros(1, 2, width))
    head = Head(torch.zeros(2, width), torch.zeros(2), ("a", "b"), 1)
    shown = Prompt("Which queue?", labels=("a", "b"), demonstrations=(Demonstration("x", "a"),))
    decoding = Decoding(labels=("a", "b"))
    module = "model.layers.0.self_attn.q_proj"
    rows, columns = base.module.state_dict()[f"{module}.weight"].shape
    lora = Adapter(
        {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4,
         "target_modules": ["q_proj"], "layers_to_transform": [0]},
        {f"base_model.model.{module}.lora_A.weight": torch.zeros(2, columns),
         f"base_model.model.{module}.lora_B.weight": torch.zeros(rows, 2)},
    )  # fmt: skip
    model = Model(base).adapt(prompt=shown, decoding=decoding)
    yield model.save(folder / "prompt")
    yield model.adapt(soft_prompt=tokens).save(folder / "soft")
    yield model.adapt(head=head).save(folder / "head")
    yield model.adapt(adapter=lora).save(folder / "lora")


def test_three_hundred_adaptation_folders(tmp_path, monkeypatch):
    from tests.tiny import backend

    base = backend("llama")
    # The package's own name for the function hides the module of that name.
    monkeypatch.setattr(
        import_module("luthier.models.load"), "open_backend", lambda name, device="auto": base
    )
    rng, answered = random.Random(0), 0
    for folder in adaptation_seeds(base, tmp_path):
        assert load(folder, base="x").ask("where is it?")
        parts = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        for _ in range(80):
            path = rng.choice(parts)
            before = path.read_bytes()
            damaged = mutated(before, rng)
            path.write_bytes(damaged)
            with ends((path, damaged)):
                model = load(folder, base="x")
                model.respond("where is it?")
                answered += 1
            path.write_bytes(before)
    assert answered > 0


def test_a_hundred_damaged_indexes(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Towns\n\nThe mayor of Dorma is Quist.")
    build_index([tmp_path / "docs"], tmp_path / "index", settings=IndexSettings(embedder="none"))
    file = tmp_path / "index" / "index.sqlite"
    whole, rng = file.read_bytes(), random.Random(0)
    for number in range(100):
        if number % 2:
            file.write_bytes(mutated(whole, rng))
        else:
            file.write_bytes(whole)
            db = sqlite3.connect(file)
            table, column = rng.choice([("facts", "value"), ("passages", "place"), ("passages", "text"),
                                        ("passages", "header"), ("files", "digest")])  # fmt: skip
            value = rng.choice(["", "[", "null", "[1]", "x" * 50, "9" * 400, b"\xff\0"])
            db.execute(f"UPDATE {table} SET {column} = ?", (value,))
            db.commit()
            db.close()
        with ends(number):
            open_index(tmp_path / "index").search(["mayor"], SearchSettings(mode="lexical"))
        with ends(number):
            build_index([tmp_path / "docs"], tmp_path / "index",
                        settings=IndexSettings(embedder="none"))  # fmt: skip


CHAT = json.dumps({
    "id": "1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "billing",
                                         "reasoning_content": None, "tool_calls": None},
                 "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}).encode()  # fmt: skip
ECHO = json.dumps({
    "id": "1", "object": "text_completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "text": "The cat", "finish_reason": "length",
                 "logprobs": {"tokens": ["The", " cat"], "text_offset": [0, 3],
                              "token_logprobs": [None, -1.5],
                              "top_logprobs": [None, {" cat": -1.5}]}}],
}).encode()  # fmt: skip


class StubClient:
    """In place of the openai client: replies with whatever it is given."""

    def __init__(self, bodies):
        self.bodies = bodies

    def with_options(self, **_):
        return self

    def post(self, path, **_):
        return self.bodies(path).decode("utf-8", "replace")


def test_three_hundred_replies_of_a_server(monkeypatch):
    rng, answered = random.Random(0), 0
    monkeypatch.setattr("luthier.models.endpoint_calls.FIRST_WAIT", 0.0)
    for number in range(300):
        seeds = {"/chat/completions": CHAT, "/completions": ECHO}
        sound_until = rng.randrange(3)
        asked = []

        def body(path, seeds=seeds, asked=asked, sound_until=sound_until):
            asked.append(path)
            return seeds[path] if len(asked) <= sound_until else mutated(seeds[path], rng)

        client = StubClient(body)
        monkeypatch.setattr(endpoint, "open_client", lambda url, client=client: client)
        with ends(number):
            model = load("http://example.invalid/v1#m")
            model = model.adapt(decoding=Decoding(labels=("billing", "delivery")))
            response = model.respond("where is it?")
            response.text.encode("utf-8")
            answered += 1
    assert answered > 30
