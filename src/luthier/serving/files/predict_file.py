"""A whole file answered: every row once, however often it is killed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from luthier.content import Conversation, Response
from luthier.context import report_progress
from luthier.models.model import Model
from luthier.records import Example
from luthier.serialization import digest
from luthier.serving.files.prediction_journal import Answer, PredictionJournal
from luthier.serving.files.prediction_output import check_output, write_output
from luthier.serving.files.prediction_rows import PredictionRows

CHUNK = 64  # rows answered together: what a kill may cost


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a prediction did: `rows` in the file, of which `resumed` were answered before a kill and
    `empty` had nothing to answer."""

    rows: int
    resumed: int
    empty: int


def predict_file(
    model: Model, rows: PredictionRows, *, out: Path, identity: str = "", seed: int = 0
) -> Predicted:
    """Answer every row and write them all to `out`.

    **Arguments**

    - `identity`: what tells this model from another, so that a journal of another one is not gone
      on with.
    - `seed`: decides what is drawn where decoding samples.

    UserError where the output cannot be written, before the model runs.
    """
    check_output(out, rows)
    key = digest([identity, seed, _digest_of(rows), rows.asked.input, rows.asked.passage])
    with PredictionJournal(out.with_name(f".{out.name}.partial"), key) as journal:
        resumed = len(journal.answers)
        left = [n for n in range(len(rows.rows)) if n not in journal.answers]
        empty = 0
        for start in range(0, len(left), CHUNK):
            done = resumed + start
            report_progress(done, len(rows.rows), f"answered {done} of {len(rows.rows)}")
            chunk = left[start : start + CHUNK]
            examples = {n: rows.example(n) for n in chunk}
            asked = {n: example for n, example in examples.items() if example is not None}
            answers: dict[int, Answer] = {n: {} for n in chunk if n not in asked}
            empty += len(answers)
            responses = respond_to(model, list(asked.values()), seed=seed)
            answers |= {n: answer_form(r) for n, r in zip(asked, responses, strict=True)}
            journal.add(answers)
        report_progress(len(rows.rows), len(rows.rows), f"answered {len(rows.rows)}")
        write_output(out, rows, journal.answers)
        journal.remove()
    return Predicted(len(rows.rows), resumed, empty)


def respond_to(model: Model, examples: Sequence[Example], *, seed: int = 0) -> list[Response]:
    """One response for each example, in one batch, with the citations of a model with documents."""
    responses = model.answer(examples, seed=seed) if examples else []
    if model.adaptation.knowledge is None:
        return responses
    from luthier.models.rag.grounding import grounded

    return [
        grounded(model, Conversation.of(example.input), partial(_given, response))
        for example, response in zip(examples, responses, strict=True)
    ]


def _given(response: Response) -> Response:
    return response


def answer_form(response: Response) -> Answer:
    """What is written of a response; what the model does not give is left out."""
    form: dict[str, Any] = {"answer": response.answer}
    probabilities = response.label_probabilities
    if probabilities is not None:
        rounded = {label: round(value, 6) for label, value in probabilities.items()}
        form |= {"probability": rounded[response.answer], "probabilities": rounded}
    if response.grounding is not None:
        form["citations"] = [c.place for c in response.citations]
    return form


def _digest_of(rows: PredictionRows) -> str:
    """The content of the file."""
    return hashlib.sha256(rows.path.read_bytes()).hexdigest()
