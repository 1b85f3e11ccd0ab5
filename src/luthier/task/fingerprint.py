"""The fingerprint of a task: a hash over everything in it that can change a result."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from luthier.records import Example
from luthier.serialization import to_plain
from luthier.task.judge_spec import judge_source, read_judge
from luthier.task.leaks import exact_key
from luthier.task.reading.documents import documents_digest
from luthier.task.spec import TaskSpec


def task_fingerprint(spec: TaskSpec, *, train: str, dev: str, test: str) -> str:
    """SHA-256 (hex) over the definition of a task and the digests of its three splits."""
    definition: dict[str, Any] = {
        "name": spec.name,
        "instruction": spec.instruction,
        "kind": str(spec.kind),
        "scorer": scorer_identity(spec.scorer),
        "labels": spec.labels,
        "label_descriptions": spec.label_descriptions,
        "context": spec.context,
        "objective": spec.objective,
        "schema": spec.schema,
        "names": (spec.input_name, spec.target_name),
        "knowledge": documents_digest(spec.knowledge, spec.data_files),
        "max_new_tokens": spec.max_new_tokens,
        "train": train,
        "dev": dev,
        "test": test,
    }
    if spec.unconstrained:  # absent elsewhere, so that other tasks keep their fingerprints
        definition["unconstrained"] = True
    if spec.tools:
        definition["tools"] = [re.sub(r":.*/", ":", address) for address in spec.tools]
    if spec.negative:
        definition["negative"] = spec.negative
    if spec.steps is not None:
        definition["steps"] = spec.steps
    if spec.tool_limits is not None:
        definition["tool_limits"] = to_plain(spec.tool_limits)
    text = json.dumps(definition, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def examples_digest(examples: Sequence[Example]) -> str:
    """SHA-256 (hex) over every field of every example, in order."""
    total = hashlib.sha256()
    for e in examples:
        asked = e.input if isinstance(e.input, str) else to_plain(e.input)
        cells = [e.id, asked, e.target, e.group, e.context]
        if e.evidence is not None or e.calls is not None:
            cells.append(e.evidence)
        if e.rejected is not None:
            cells.append({"rejected": e.rejected})
        if e.calls is not None:
            cells.append(to_plain(e.calls))
        if e.picture is not None:
            cells.append({"picture": hashlib.sha256(Path(e.picture).read_bytes()).hexdigest()})
        row = json.dumps(cells, ensure_ascii=True)
        total.update(row.encode() + b"\n")
    return total.hexdigest()


def example_hash(example: Example) -> str:
    """10 hex digits of the SHA-256 of an input and its passage, without case, width and spacing."""
    return hashlib.sha256("\n".join(exact_key(example)).encode()).hexdigest()[:10]


def scorer_identity(scorer: str | Callable[..., Any]) -> str:
    """A scorer as text: its name, with the hash of its file where it comes from one."""
    if not isinstance(scorer, str):
        module = getattr(scorer, "__module__", "")
        return f"{module}:{getattr(scorer, '__qualname__', repr(type(scorer)))}"
    judged = judge_source(scorer)
    if judged is not None:
        spec = read_judge(judged)
        return f"judge:{scorer_identity(judged) if spec.scripted else spec.identity}"
    file, colon, function = scorer.rpartition(":")
    if colon and file.endswith(".py"):
        try:
            content = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        except OSError:
            content = ""
        return f"{Path(file).name}:{function}:{content}"
    return scorer
