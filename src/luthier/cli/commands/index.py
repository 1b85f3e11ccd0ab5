"""`luthier index`: make documents searchable, or bring an index up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from luthier.retrieval.types import IndexProgress


def index(
    sources: Annotated[list[str], typer.Argument(help="Files, folders or globs.")],
    into: Annotated[
        str,
        typer.Option(
            help="A folder, or a store: lancedb://FOLDER, postgresql://HOST/DATABASE#INDEX, "
            "qdrant+http://HOST:6333#INDEX."
        ),
    ],
    embedder: Annotated[
        str,
        typer.Option(
            help="minilm, none (words only), a sentence-transformers model (org/name or a folder), "
            "or an endpoint (http://HOST/v1#MODEL)."
        ),
    ] = "minilm",
    chunk: Annotated[int, typer.Option(help="Most characters in a passage.")] = 1000,
    urls: Annotated[bool, typer.Option("--urls", help="Allow http:// sources.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop what the index holds of other sources.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Index documents. Run it again after edits: only what changed is read again.

    Documents of sources named earlier stay unless --replace. Exit code 1 when some could not be
    read; the rest are indexed.
    """
    from dataclasses import asdict

    from luthier.cli.console import only_data_on_stdout, print_json, talk
    from luthier.retrieval import IndexSettings, build_index

    settings = IndexSettings(
        chunk_characters=chunk,
        overlap_characters=min(150, chunk // 4),
        embedder=embedder,
        urls=urls,
    )
    console = talk()
    with only_data_on_stdout(), console.status("Indexing") as status:

        class StatusLine:
            def progressed(self, progress: IndexProgress) -> None:
                left = progress.seconds_left
                rest = "" if left is None else f", about {left:.0f} s left"
                status.update(f"Indexing {progress.files_done} of {progress.files}{rest}")

        report = build_index(sources, into, settings=settings, replace=replace, listener=StatusLine())
    if as_json:
        print_json(asdict(report))
    else:
        console.print(
            f"{report.added} new, {report.changed} changed, {report.removed} gone, "
            f"{report.unchanged} unchanged: {report.passages:,} passages in {into} "
            f"({report.seconds:.1f} s)",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        if report.kept:
            names = ", ".join(name or "unknown" for name in report.kept_of[:5])
            console.print(
                f"{report.kept} of other sources stay ({names}): --replace drops them",
                markup=False, soft_wrap=True,
            )  # fmt: skip
    for bad in report.bad:
        console.print(f"not indexed: {bad.source}: {bad.reason}", markup=False, soft_wrap=True)
    if report.bad:
        raise typer.Exit(1)
