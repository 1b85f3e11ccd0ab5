"""`luthier ask`: one answer from a saved model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.shared_options import MovedBase

if TYPE_CHECKING:
    from luthier.content import Response
    from luthier.models.model import Model


def ask(
    folder: Annotated[
        str,
        typer.Argument(help="A technique's folder (runs/<id>/lora), a run folder, or any model."),
    ],
    text: Annotated[str, typer.Argument(help="The input, or a sound file; - reads stdin.")],
    context: Annotated[
        str | None, typer.Option(help="A passage to answer from.", show_default=False)
    ] = None,
    knowledge: Annotated[
        str | None,
        typer.Option(help="An index to look the answer up in, instead of the model's own."),
    ] = None,
    base: MovedBase = None,
    transcriber: Annotated[
        str, typer.Option(help="What transcribes a sound file: as `transcribe` in a task file.")
    ] = "pocketsphinx",
    embedder: Annotated[
        str | None,
        typer.Option(
            help="The server that the model's index embeds questions with, to say that you trust "
            "it.",
            show_default=False,
        ),
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may call, several times: see luthier tools.", show_default=False
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="A tool that may change things without a question.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Of a model that draws: the file of the picture, a PNG."),
    ] = None,
    negative: Annotated[
        str | None,
        typer.Option(help="Of a model that draws: what must not be seen.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random: a picture's noise.")] = 0,
    tool_limits: Annotated[
        str,
        typer.Option(
            help="How far it may go with them: steps=4,calls=8,seconds=60,tokens=4000 or "
            "money=0.02,prices=0.15/0.60 (for a million tokens read and generated).",
            show_default=False,
        ),
    ] = "",
    prices: Annotated[
        str | None,
        typer.Option(help="A price book, in place of prices=.", show_default=False),
    ] = None,
    trace: Annotated[bool, typer.Option(help="Show the calls and their results.")] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object: the answer, the labels' probabilities.",
        ),
    ] = False,
) -> None:
    """Ask an adapted model. A run folder answers with the verdict's pick.

    A model that draws answers with the path of a picture; --out writes it to a file of yours.
    A model with documents names the place its answer stands at, or says "not in the documents".
    """
    from luthier.cli.console import only_data_on_stdout
    from luthier.compare.run_folder import pick_folder
    from luthier.errors import UserError
    from luthier.models.load import load
    from luthier.safety.hosts import name_host

    for named in (knowledge, embedder):
        name_host(named or "")
    question = sys.stdin.read() if text == "-" else text
    if not question.strip():
        raise UserError("nothing was asked: the text is empty", next_step="Give a text.")
    with only_data_on_stdout():
        question = heard(question, transcriber)
        model = load(pick_folder(folder), base=base)
        if knowledge is not None:
            model = with_index(model, knowledge)
        if out is not None or negative is not None:
            from luthier.cli.drawn_answer import prepared

            model = prepared(model, out=out, negative=negative)
        if tool:
            from luthier.cli.tool_trace import limits_for, respond_with

            response = respond_with(
                model, question, context=context, tools=tool, allow=allow or (),
                limits=limits_for(model, tool_limits, prices),
            )  # fmt: skip
        else:
            response = model.respond(question, context=context, seed=seed)
        if out is not None:
            from luthier.cli.drawn_answer import written

            response = written(response, out)
    if as_json:
        from luthier.cli.console import print_json

        print_json(response_json(response))
        return
    if trace:
        from luthier.cli.tool_trace import show_trace

        show_trace(response)
    from luthier.cli.console import say

    say(response.answer)
    show_notes(response)
    show_sources(response)


def heard(question: str, transcriber: str) -> str:
    """What was said, where the question is a sound file; else the question as it is."""
    from pathlib import Path

    from luthier.cli.console import talk
    from luthier.errors import UserError
    from luthier.speech import open_transcriber, transcribe
    from luthier.speech.sound_file import names_sound

    if not names_sound(question.strip()) or not Path(question.strip()).is_file():
        return question
    found = transcribe([Path(question.strip())], open_transcriber(transcriber))[0]
    if found.fault is not None:
        raise UserError(
            f"{question.strip()} gives no transcript: {found.fault}",
            next_step="Give another recording, or say in words what it says.",
        )
    talk().print(f"heard: {found.text}", markup=False, soft_wrap=True)
    return found.text


def with_index(model: Model, where: str) -> Model:
    """The model with another index in its knowledge slot; a first one with the usual search."""
    from dataclasses import replace

    from luthier.models.adaptation import Knowledge
    from luthier.retrieval import SearchSettings, open_index

    index = open_index(where)
    own = model.adaptation.knowledge
    if own is None:
        search = SearchSettings(k=3, mode="lexical" if index.facts.dimension is None else "hybrid")
        slot = Knowledge(where, index.fingerprint, search)
    else:
        slot = replace(own, index=where, fingerprint=index.fingerprint)
    return model.adapt(knowledge=slot)


def response_json(response: Response) -> dict[str, Any]:
    """The object that `luthier ask --json` prints."""
    from luthier.scoring.notes import usage_notes

    grounding, notes = response.grounding, usage_notes(response.usage, 1)
    probabilities = response.label_probabilities
    plain: dict[str, Any] = {
        "answer": response.answer,
        **({"probabilities": probabilities} if probabilities else {}),
        **({"notes": list(notes)} if notes else {}),
    }
    if response.steps or response.stopped:
        from luthier.cli.tool_trace import steps_json

        plain |= {"steps": steps_json(response), "stopped": response.stopped}
    if grounding is None:
        return plain
    return {
        **plain,
        "said": response.prediction,
        "supported": grounding.supported,
        "relevance": grounding.relevance,
        "citations": [
            {
                "number": c.number,
                "source": c.source,
                "page": c.page,
                "start": c.start,
                "end": c.end,
                "supports": c.supports,
                "explicit": c.explicit,
            }
            for c in response.citations
        ],
        "unknown_citations": list(grounding.unknown_citations),
        "seconds": {"search": grounding.search_seconds, "read": grounding.read_seconds},
    }


def show_notes(response: Response) -> None:
    """What befell the request and bears on the answer, on stderr."""
    from luthier.cli.console import talk
    from luthier.scoring.notes import usage_notes

    for note in usage_notes(response.usage, 1):
        talk().print(f"note: {note}", markup=False, soft_wrap=True)


def why_withheld(response: Response) -> str:
    """Why an answer is not given, with what the model said."""
    said, grounding = response.prediction, response.grounding
    if grounding is not None and grounding.relevance is not None and response.citations:
        return (
            f"the model said: {said}; the passage it stands in does not seem to answer the "
            f"question ({grounding.relevance:.0%})"
        )
    return f"no passage bears out what the model said: {said}"


def show_sources(response: Response) -> None:
    """The passages behind an answer on stdout, what was wrong with it on stderr."""
    from luthier.cli.console import say, talk

    if response.grounding is None:
        return
    given = not response.grounding.withheld
    for citation in response.citations:
        if given and citation.supports:
            say(f"[{citation.number}] {citation.place}")
    warnings = []
    if response.grounding.unknown_citations:
        numbers = ", ".join(map(str, response.grounding.unknown_citations))
        warnings.append(f"the answer cites passages that do not exist: {numbers}")
    if not given and response.prediction:
        warnings.append(why_withheld(response))
    for warning in warnings:
        talk().print(warning, markup=False, soft_wrap=True)
