"""`luthier ask`: one answer from a saved model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from luthier.models.model import Model
    from luthier.models.rag.asking import Told


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

    asked = sys.stdin.read() if text == "-" else text
    if not asked.strip():
        raise UserError("nothing was asked: the text is empty", next_step="Give a text.")
    with only_data_on_stdout():
        model = load(pick_folder(folder), base=base)
        if knowledge is not None:
            model = with_index(model, knowledge)
        if model.adaptation.knowledge is None:
            answer, told = model.ask(asked, context=context), None
        else:
            from luthier.models.rag.asking import ask as look_up

            told = look_up(model, asked, context=context)
            answer = told.answer
    if as_json:
        from luthier.cli.console import print_json

        print_json({"answer": answer} if told is None else told.to_json())
        return
    typer.echo(answer)
    if told is not None:
        show(told)


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


def show(told: Told) -> None:
    """The passages behind an answer on stdout, what was wrong with it on stderr."""
    from luthier.cli.console import talk

    for citation in told.check.citations:
        if told.answer == told.said:
            typer.echo(f"[{citation.number}] {citation.place}")
    warn = []
    if told.check.unknown:
        numbers = ", ".join(map(str, told.check.unknown))
        warn.append(f"cited passages that there are not: {numbers}")
    if told.answer != told.said and told.said:
        warn.append(f"no passage bears out what the model said: {told.said}")
    for line in warn:
        talk().print(line, markup=False, soft_wrap=True)
