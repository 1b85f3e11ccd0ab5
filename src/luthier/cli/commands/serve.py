"""`luthier serve`: the adaptations of a run behind the OpenAI API."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.quick_start import without_collections
from luthier.cli.shared_options import AllowTheirCode, MovedBase, TasksOfRuns
from luthier.errors import UserError


def serve(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Run folders, technique folders, or bases.", metavar="RUN..."),
    ] = None,
    port: Annotated[int | None, typer.Option(help="The port.  \\[default: 8000]")] = None,
    host: Annotated[
        str | None,
        typer.Option(help="The address to listen at; others than this machine need --keys."),
    ] = None,
    keys: Annotated[str | None, typer.Option(help="A file of luthier key.")] = None,
    root: Annotated[
        str | None, typer.Option(help="The folder of runs to load more from at /admin/models.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A file of settings (YAML) instead of options.")
    ] = None,
    audit_log: Annotated[str | None, typer.Option(help="A file for who did what.")] = None,
    log: Annotated[str | None, typer.Option(help="text or json.")] = None,
    base: MovedBase = None,
    task: TasksOfRuns = None,
    allow_code: AllowTheirCode = False,
) -> None:
    """Serve every adaptation of a run as a model name, with one base in memory.

    The API is OpenAI's, at http://localhost:8000/v1; a model is called "<run>/<technique>", and the
    verdict's pick also "<run>". Ctrl-C or SIGTERM ends it once what is under way is answered.
    """
    from luthier.cli.console import only_data_on_stdout, talk

    try:
        with without_collections():
            import uvicorn

            from luthier.serving.app import create
    except ImportError as error:
        raise UserError(
            f"serving needs {error.name}, which is not installed",
            next_step="pip install 'luthier[serve]'",
        ) from error
    from luthier.serving.listening import free_socket
    from luthier.serving.model_service import ModelService
    from luthier.serving.served_models import ServedModels
    from luthier.serving.server_settings import ServerSettings, read_settings
    from luthier.serving.watch.json_logs import log_settings
    from luthier.task.task import Task

    settings = ServerSettings() if config is None else read_settings(config)
    settings = settings.with_options(
        runs=tuple(runs) if runs else None, port=port, host=host, keys=keys, root=root, base=base,
        audit_log=audit_log, log=log, tasks=tuple(task) if task else None,
        allow_code=allow_code or None,
    )  # fmt: skip
    if not settings.runs:
        raise UserError("there is nothing to serve", next_step="luthier serve runs/NAME")
    rules = settings.rules()
    socket = free_socket(settings.host, settings.port)  # before anything heavy loads
    with only_data_on_stdout():
        with without_collections():
            tasks = [Task.load(name, allow_code=settings.allow_code) for name in settings.tasks]
            served = ServedModels.of(settings.runs, base=settings.base)
            service = ModelService(served, most_under_way=settings.most_under_way)
            place = None if settings.root is None else Path(settings.root)
            app = create(service, studio=settings.studio, rules=rules, root=place, tasks=tasks)
        console = talk()
        for name in served.names():
            console.print(f"  {name}", markup=False, soft_wrap=True)
        address = f"http://{settings.host}:{socket.getsockname()[1]}"
        console.print(f"Serving at {address}/v1 (Ctrl-C ends it)", markup=False, soft_wrap=True)
        made = uvicorn.Config(app, log_config=log_settings(settings.log), server_header=False)
        with suppress(KeyboardInterrupt):  # what was under way is answered by then
            uvicorn.Server(made).run(sockets=[socket])
        service.close()
