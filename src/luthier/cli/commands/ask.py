"""`luthier ask`: one answer from a saved model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from luthier.content import Response
    from luthier.models.model import Model


def ask(
    folder: Annotated[
        str,
        typer.Argument(help="A technique's folder (runs/<id>/lora), a run folder, or any model."),
    ],
    text: Annotated[str, typer.Argument(help="The input; - reads it from stdin.")],
    context: Annotated[
        str | None, typer.Option(help="A passage to answer from.", show_default=False)
    ] = None,
    knowledge: Annotated[
        str | None,
        typer.Option(help="An index to look the answer up in, instead of the model's own."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="The base, where it is no longer at its place.", show_default=False),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object: the answer; with documents, more."),
    ] = False,
) -> None:
    """Ask an adapted model. A run folder answers with the verdict's pick.

    A model with documents names the place its answer stands at, or says "not in the documents".
    """
    from luthier.cli.console import only_data_on_stdout
    from luthier.compare.run_folder import pick_folder
    from luthier.errors import UserError
    from luthier.models.load import load

    question = sys.stdin.read() if text == "-" else text
    if not question.strip():
        raise UserError("nothing was asked: the text is empty", next_step="Give a text.")
    with only_data_on_stdout():
        model = load(pick_folder(folder), base=base)
        if knowledge is not None:
            model = with_index(model, knowledge)
        response = model.respond(question, context=context)
    if as_json:
        from luthier.cli.console import print_json

        print_json(response_json(response))
        return
    typer.echo(response.answer)
    show_notes(response)
    show_sources(response)


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
    plain = {"answer": response.answer, **({"notes": list(notes)} if notes else {})}
    if grounding is None:
        return plain
    return {
        **plain,
        "said": response.prediction,
        "supported": grounding.supported,
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


def show_sources(response: Response) -> None:
    """The passages behind an answer on stdout, what was wrong with it on stderr."""
    from luthier.cli.console import talk

    if response.grounding is None:
        return
    given = response.answer == response.prediction
    for citation in response.citations:
        if given:
            typer.echo(f"[{citation.number}] {citation.place}")
    warnings = []
    if response.grounding.unknown_citations:
        numbers = ", ".join(map(str, response.grounding.unknown_citations))
        warnings.append(f"the answer cites passages that do not exist: {numbers}")
    if not given and response.prediction:
        warnings.append(f"no passage bears out what the model said: {response.prediction}")
    for warning in warnings:
        talk().print(warning, markup=False, soft_wrap=True)
