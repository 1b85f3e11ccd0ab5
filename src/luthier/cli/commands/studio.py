"""`luthier studio`: the pages over all runs of a folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.quick_start import without_collections
from luthier.cli.shared_options import AllowTheirCode, TasksOfRuns
from luthier.errors import UserError


def studio(
    runs: Annotated[Path, typer.Argument(help="The folder with the run folders.")] = Path("runs"),
    serve: Annotated[
        list[str] | None,
        typer.Option(
            help="Also serve the models of this run, for the playground; several times.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="The port.")] = 8000,
    task: TasksOfRuns = None,
    allow_code: AllowTheirCode = False,
) -> None:
    """Look at the runs of a folder in the browser: while they go on, and after.

    Nothing is served but the pages, to this machine alone; --serve adds models to ask.
    """
    from luthier.cli.console import only_data_on_stdout, talk

    try:
        with without_collections():
            import uvicorn

            from luthier.serving.app import create
    except ImportError as error:
        raise UserError(
            f"the studio needs {error.name}, which is not installed",
            next_step="pip install 'luthier[serve]'",
        ) from error
    from luthier.serving.listening import free_socket
    from luthier.serving.model_service import ModelService
    from luthier.serving.served_models import ServedModels
    from luthier.task.task import Task

    if runs.exists() and not runs.is_dir():
        raise UserError(f"{runs} is a file, not a folder", next_step="Name the folder of the runs.")
    socket = free_socket("127.0.0.1", port)  # before anything heavy loads
    with only_data_on_stdout():
        with without_collections():
            tasks = [Task.load(name, allow_code=allow_code) for name in task or ()]
            service = ModelService(ServedModels.of(serve or ()))
            app = create(service, root=runs, tasks=tasks)
        address = f"http://127.0.0.1:{socket.getsockname()[1]}"
        talk().print(f"The studio is at {address} (Ctrl-C ends it)", markup=False, soft_wrap=True)
        config = uvicorn.Config(app, log_level="warning")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[socket])
        service.close()
