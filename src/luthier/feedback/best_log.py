"""The best answers of all rounds: a round that forgot those of earlier ones got worse (Llama 2,
arXiv:2307.09288, section 3.2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from luthier.content import Conversation
from luthier.feedback.exchange.conversation_turns import turns_of
from luthier.feedback.exchange.file_rows import read_rows, write_rows
from luthier.feedback.sample import asked
from luthier.records import Example
from luthier.training.rejection import BestAnswer

BEST_FILE = "best.jsonl"


def read_best(path: Path) -> list[Example]:
    """All best answers so far; none where there is no file."""
    if not path.is_file():
        return []
    rows, _, _ = read_rows(path)
    return [
        Example(row["id"], asked(turns_of(row["prompt"], name="prompt")), row["answer"], None,
                row.get("context"))
        for _, row in rows
    ]  # fmt: skip


def add_best(path: Path, best: Sequence[BestAnswer], *, round_name: str) -> list[Example]:
    """Append a round's best answers; returns those of all rounds, each prompt and answer once."""
    rows, _, _ = read_rows(path) if path.is_file() else ([], [], "")
    new = [
        {
            "id": b.example.id,
            "prompt": [
                {"role": m.role, "content": m.text}
                for m in Conversation.of(b.example.input).messages
            ],
            "context": b.example.context,
            "answer": b.example.target,
            "reward": b.reward,
            "round": round_name,
        }
        for b in best
    ]
    write_rows(path, [row for _, row in rows] + new, lines=True)
    distinct = {(e.text, e.target): e for e in read_best(path)}
    return [replace(e, id=f"{e.id}-{i}") for i, e in enumerate(distinct.values())]
