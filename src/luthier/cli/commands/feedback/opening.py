"""`luthier feedback open`: the annotation page on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from luthier.cli.commands.feedback.folder import DEFAULT_FOLDER, Folder, open_store


def open_page(
    people: Annotated[
        list[str] | None,
        typer.Option("--invite", help="A person to invite; may be given several times."),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="What to ask for: preference, rating, thumb or edit.")
    ] = "preference",
    per_item: Annotated[int, typer.Option(help="How many people judge each item.")] = 2,
    days: Annotated[
        float | None, typer.Option(help="After so many days the invites end.", show_default=False)
    ] = None,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 lets other machines in: anyone with a link may annotate.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8400,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    folder: Folder = DEFAULT_FOLDER,
) -> None:
    """Serve the annotation page until Ctrl-C. The links of the invites go to stdout."""
    import getpass
    import webbrowser

    from luthier.cli.console import talk
    from luthier.errors import UserError
    from luthier.feedback.annotate.invites import invite_of

    if per_item < 1:
        raise UserError(f"--per-item {per_item} asks nobody", next_step="Give 1 or more.")
    with open_store(folder) as store:
        names = people or [getpass.getuser()]
        invites = [invite_of(store, name, kind=kind, days=days) for name in names]  # type: ignore[arg-type]
        try:
            import uvicorn

            from luthier.feedback.annotate.page_app import annotation_app
        except ImportError as error:
            raise UserError(
                f"The page needs {error.name}", next_step="pip install 'luthier[serve]'"
            ) from error
        from luthier.report.html import stylesheet
        from luthier.serving.listening import free_socket

        app = annotation_app(store, style=stylesheet(), people_per_item=per_item)
        with free_socket(host, port) as socket:
            socket.listen()  # so that the links that are told lead somewhere
            shown = "127.0.0.1" if host == "0.0.0.0" else host
            address = f"http://{shown}:{socket.getsockname()[1]}"
            for invite in invites:
                typer.echo(f"{invite.who}\t{address}/a/{invite.token}")
            talk().print(f"Serving {folder} at {address} until Ctrl-C", markup=False)
            if browser and not people:
                webbrowser.open(f"{address}/a/{invites[0].token}")
            server = uvicorn.Server(
                uvicorn.Config(app, log_level="warning", lifespan="off", access_log=False)
            )
            server.run(sockets=[socket])
