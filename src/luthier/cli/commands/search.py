"""`luthier search`: passages of an index, with their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from luthier.retrieval import Hit


def search(
    folder: Annotated[
        str, typer.Argument(help="The folder of the index, or its address (see luthier index).")
    ],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", help="How many passages.")] = 5,
    mode: Annotated[
        str | None,
        typer.Option(
            help="dense, lexical or hybrid (where there are vectors).", show_default=False
        ),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="name=value, several times.", show_default=False)
    ] = None,
    diversity: Annotated[
        float, typer.Option(help="From 0 to 1: relevance against variety of the passages.")
    ] = 0.0,
    rerank: Annotated[
        str | None,
        typer.Option(help="A cross-encoder (org/name or a folder).", show_default=False),
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(help="The index's own embedder at another address.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The passages as JSON.")] = False,
) -> None:
    """Search an index."""
    from dataclasses import asdict

    from luthier.cli.console import only_data_on_stdout, print_json, say
    from luthier.errors import UserError
    from luthier.retrieval import SearchSettings, open_index
    from luthier.retrieval.types import Mode

    if not query.strip():
        raise UserError("the query is empty", next_step="Give some words.")
    pairs = []
    for pair in where or ():
        name, sign, value = pair.partition("=")
        if not sign:
            raise UserError(f"--where takes name=value, not {pair!r}")
        pairs.append((name, value))
    with only_data_on_stdout():
        index = open_index(folder, embedder=embedder)
        mode = mode or ("hybrid" if index.facts.dimension else "lexical")
        settings = SearchSettings(
            k=k, mode=cast(Mode, mode), where=tuple(pairs), diversity=diversity, rerank=rerank
        )
        hits = index.search([query], settings)[0]
    if as_json:
        print_json({"query": query, "mode": mode, "hits": [asdict(h) for h in hits]})
        return
    for hit in hits:
        say(f"[{hit.rank}] {hit.passage.place}  ({scores_of(hit)})")
        if hit.passage.header:
            say(f"    {printable(hit.passage.header)}")
        say(f"    {printable(hit.passage.text)[:300]}")


def scores_of(hit: Hit) -> str:
    """The scores of a hit with their names: "cosine 0.61, BM25 7.42"."""
    named = {"cosine": hit.cosine, "BM25": hit.bm25}
    shown = [f"{name} {value:.2f}" for name, value in named.items() if value is not None]
    if hit.score not in (hit.cosine, hit.bm25, hit.fused):
        shown.insert(0, f"reranker {hit.score:.2f}")
    return ", ".join(shown) or f"{hit.score:.3f}"


def printable(text: str) -> str:
    """The text in one line, without control characters that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
